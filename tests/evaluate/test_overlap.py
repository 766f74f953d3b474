"""Test images that sources and runs were trained on are counted by content, none more, and warned of."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.workspaces import CLASSES, edit, make, run
from zoo_cli.store import checksums

PLANTED = 43
QUICK = ("--steps", "2", "--batch-size", "8", "--augment", "none")


def draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)).save(path)


def digests(paths: list[Path]) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a run on all of its images but the test part, and one that goes on from it with labels alone."""
    place = make(tmp_path_factory.mktemp("trained") / "task")
    for command in (
        ("finetune", "student", "--objective", "fixmatch", "--steps", "2", "--batch-size", "8", "--name", "mine"),
        ("finetune", f"file:{place}/runs/mine", *QUICK, "--name", "later"),
    ):
        result = run(*command, workspace=place)
        assert result.code == 0, result.err
    return place


@pytest.fixture
def planted(trained: Path, tmp_path: Path) -> Path:
    """Another task, whose test part holds every image of the first one."""
    place = make(tmp_path / "other", test="folder:test")
    shutil.copytree(trained / "images", place / "test")
    for number, name in enumerate(CLASSES):
        shutil.rmtree(place / "images" / name)
        for index in range(6):
            draw(place / f"images/{name}/{index}.png", 100 * number + index)
    return place


def seen_rows(place: Path) -> list[str]:
    table = pq.read_table(place / "manifest.parquet").to_pylist()
    return sorted(row["sha256"] for row in table if row["split"] != "test")


def test_planted_images_are_counted_and_none_more(tmp_path: Path) -> None:
    for number, name in enumerate(CLASSES):
        for index in range(30):
            draw(tmp_path / f"train/{name}/{index}.png", 1000 + 100 * number + index)
            draw(tmp_path / f"test/{name}/{index}.png", 2000 + 100 * number + index)
    train, test = (digests(sorted((tmp_path / part).rglob("*.png"))) for part in ("train", "test"))
    others = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(500)]
    lines = [f"{digest.upper()}  some/file.png" for digest in test[:PLANTED]] + train + others
    (tmp_path / "birds.sha256").write_text("\n".join(lines) + "\n\n")
    (tmp_path / "zoo.toml").write_text(
        '[task]\ntrain = "folder:train"\ntest = "folder:test"\n'
        '[[source]]\nname = "birds"\nmodel = "features:b.parquet"\n'
        'trained_images = "birds.sha256"\n[[source]]\nname = "cars"\nmodel = "timm:resnet18"\n'
    )
    result = run("evaluate", "overlap", "--json", workspace=tmp_path)
    assert result.code == 0, result.err
    birds, cars = result.data
    assert (birds["source"], birds["n"], birds["seen"]) == ("birds", 90, PLANTED)
    assert len(birds["examples"]) == 5
    assert (cars["seen"], cars["examples"]) == (None, [])
    assert result.err.count("birds was trained on 43 of the 90 test images") == 1
    strict = run("evaluate", "overlap", "--strict", workspace=tmp_path)
    assert strict.code == 3
    assert strict.error == "trained on test images of the task: birds; drop these sources, or these images"
    assert "cars\t90\tunknown" in strict.out
    assert run("evaluate", "overlap", "cars", "--strict", workspace=tmp_path).code == 0


def test_a_run_lists_what_it_was_trained_on(trained: Path) -> None:
    listed = (trained / "runs/mine/images.sha256").read_text().split()
    assert listed == seen_rows(trained)
    assert "images.sha256" in checksums.read_sums(trained / "runs/mine")
    later = (trained / "runs/later/images.sha256").read_text().split()
    assert later == listed  # its own images are the labelled ones: the others came with its starting weights
    result = run("evaluate", "overlap", "mine", "later", "--json", workspace=trained)
    assert [row["seen"] for row in result.data] == [0, 0]


def test_rank_and_overlap_warn_of_a_source_that_is_a_run(trained: Path, planted: Path) -> None:
    seen = len(set(seen_rows(trained)))
    path = trained / "runs/mine"
    text = (planted / "zoo.toml").read_text()
    (planted / "zoo.toml").write_text(f'{text}\n[[source]]\nname = "mine"\nmodel = "file:{path}"\n')
    flags = ("rank", "--source", "mine", "--source", "alpha", "--json")
    result = run(*flags, workspace=planted)
    assert result.code == 0, result.err
    assert f"mine was trained on {seen} of the 36 test images" in result.err
    assert json.loads(result.out)["meta"]["test_images_seen"] == {"mine": seen}
    before = (planted / "ranking.parquet").read_bytes()
    strict = run(*flags, "--strict", workspace=planted)
    assert strict.code == 3
    assert strict.error.startswith("trained on test images of the task: mine")
    assert (planted / "ranking.parquet").read_bytes() == before
    assert run("rank", "--source", "alpha", "--strict", workspace=planted).code == 0
    edit(planted, 'name = "mine"', 'name = "mine"\ntrained_on = ["patterns"]')
    assert run(*flags, "--strict", workspace=planted).code == 0  # it is excluded by its name
    rows = run("evaluate", "overlap", f"file:{path}", "alpha", "--json", workspace=planted).data
    assert [row["seen"] for row in rows] == [seen, None]


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "task")
    return tmp_path / "task"


def test_an_old_run_without_a_list_is_unknown(copied: Path) -> None:
    folder = copied / "runs/mine"
    (folder / "images.sha256").unlink()
    checksums.write_sums(folder, [name for name in checksums.read_sums(folder) if name != "images.sha256"])
    result = run("evaluate", "overlap", "mine", "--json", workspace=copied)
    assert (result.code, result.data[0]["seen"]) == (0, None)
    assert run("verify", workspace=copied).code == 0
    # What goes on from it has seen more than is known.
    assert run("finetune", f"file:{folder}", *QUICK, "--name", "next", workspace=copied).code == 0
    assert not (copied / "runs/next/images.sha256").exists()


@pytest.mark.parametrize("damage", ["changed", "removed"])
def test_a_damaged_list_of_a_run_is_refused(copied: Path, damage: str) -> None:
    path = copied / "runs/mine/images.sha256"
    if damage == "changed":
        path.write_text(path.read_text()[65:])
    else:
        path.unlink()
    result = run("evaluate", "overlap", "mine", workspace=copied)
    assert result.code == 3
    assert "images.sha256 is damaged" in result.error or "images.sha256 is missing" in result.error
    checked = run("verify", "--json", workspace=copied)
    assert checked.code == 3
    assert [Path(row["path"]).name for row in checked.data["findings"]] == ["images.sha256"]


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        (None, 2, 'source alpha: no file "list.txt", its trained_images; paths are relative to zoo.toml'),
        ("", 3, "list.txt lists no image"),
        ("cafe\n", 3, "list.txt: line 1 is not a sha256"),
        ("0" * 64 + "\n" + "0" * 63 + "\n", 3, "list.txt: line 2 is not a sha256"),
        ("\udcff", 3, "list.txt is not text in UTF-8"),
    ],
)
def test_a_bad_list_is_one_line(tmp_path: Path, text: str | None, code: int, message: str) -> None:
    place = make(tmp_path / "task", upto="split")
    edit(place, 'trained_on = ["shapes"]', 'trained_images = "list.txt"')
    if text is not None:
        (place / "list.txt").write_text(text, encoding="utf-8", errors="surrogateescape")
    result = run("evaluate", "overlap", workspace=place)
    assert result.code == code
    assert message in result.error


def test_a_list_makes_no_stored_output_stale(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="rank")
    edit(place, 'trained_on = ["shapes"]', 'trained_images = "list.txt"')
    (place / "list.txt").write_text("0" * 64)
    result = run("rank", "--json", workspace=place)
    assert result.code == 0, result.err
    assert '"test_images_seen"' in result.out


def test_unknown_models_and_strict_without_images_are_refused(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="split")
    assert "did you mean alpha?" in run("evaluate", "overlap", "alfa", workspace=place).error
    result = run("rank", "--strict", "--scores", "x.parquet", workspace=place)
    assert result.code == 2
    assert "--strict needs the images of a workspace" in result.error
