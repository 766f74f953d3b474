"""Several label sets in one workspace: what they share, what each has of its own, and when one is stale."""

import hashlib
import importlib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import zoo_cli as zoo
from tests.workspaces import Result, edit, make, run
from zoo_cli.config import Config
from zoo_cli.errors import ParameterError, UsageError
from zoo_cli.images import decoding
from zoo_cli.pipeline import prepare
from zoo_cli.store import parquet_files
from zoo_cli.store.manifest import load_manifest
from zoo_cli.store.parquet_files import write_table
from zoo_cli.training.run_paths import RunPaths

TRAIN = ("--steps", "2", "--batch-size", "8", "--augment", "none", "--device", "cpu")
SHARED = ("classes.json", "features", "pseudo/source=alpha", "pseudo/source=beta", "pseudo/source=gamma")
STAGES = (
    ("score", "--metric", "parc"),
    ("rank",),
    ("pseudo-label", "--head", "ridge"),
    ("pseudo-label", "--head", "ridge", "--pool", "spread"),
    ("distill", "--weighting", "p=2", *TRAIN),
    ("distill", "--objective", "heads", *TRAIN),
    ("distill", "--lam", "1", *TRAIN),
    ("finetune", "best", *TRAIN),
)


def digests(folder: Path, *parts: str) -> dict[str, tuple[str, int]]:
    """The digest and the time of every file in a folder, or in some parts of it."""
    paths = [path for part in parts or (".",) for path in [folder / part, *(folder / part).rglob("*")]]
    return {
        path.relative_to(folder).as_posix(): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in paths
        if path.is_file() and not path.name.endswith(".log.json")
    }


def succeed(*arguments: str, workspace: Path) -> Result:
    result = run(*arguments, workspace=workspace)
    assert result.code == 0, result.err
    return result


def rows(manifest: Path) -> list[dict[str, Any]]:
    return pq.read_table(manifest).to_pylist()


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A workspace with scores of the main set and with a label set `few`."""
    place = make(tmp_path / "task", upto="score")
    succeed("split", "--labels", "few", "--labelled", "3/class", workspace=place)
    return place


@pytest.fixture(scope="module")
def kept_task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, for tests that change nothing."""
    place = make(tmp_path_factory.mktemp("kept") / "task", upto="score")
    succeed("split", "--labels", "few", "--labelled", "3/class", workspace=place)
    return place


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    """A workspace after all stages for its label set, another with these labels as its only ones; what was shared."""
    folder = tmp_path_factory.mktemp("pair")
    place = make(folder / "task", upto="pseudo-label")
    before = digests(place)
    succeed("split", "--labels", "few", "--labelled", "3/class", workspace=place)
    for stage in STAGES:
        succeed(*stage, "--labels", "few", workspace=place)
    other = make(folder / "other", labelled="3/class")
    for stage in STAGES:
        succeed(*stage, workspace=other)
    return place, other, before


def test_a_label_set_is_that_of_a_workspace_of_its_own(pair: tuple[Path, Path, dict[str, Any]]) -> None:
    place, other, _ = pair
    own = place / "labels" / "few"
    for name in ("scores", "heads", "ranking.parquet", "weights.json"):
        expected, made = digests(other, name), digests(own, name)
        assert made
        assert {key: sha for key, (sha, _) in made.items()} == {key: sha for key, (sha, _) in expected.items()}
    pools = sorted(path.name for path in (own / "pseudo").iterdir())
    assert pools == ["head=ridge-product", "head=ridge-spread"]
    for pool in pools:
        made, expected = digests(own / "pseudo" / pool), digests(other / "pseudo" / pool)
        assert {key: sha for key, (sha, _) in made.items()} == {key: sha for key, (sha, _) in expected.items()}
    own_rows, other_rows = rows(own / "manifest.parquet"), rows(other / "manifest.parquet")
    assert own_rows == other_rows


def test_its_runs_are_those_of_a_workspace_of_its_own(pair: tuple[Path, Path, dict[str, Any]]) -> None:
    place, other, _ = pair
    names = sorted(path.name for path in (other / "runs").iterdir() if path.is_dir())
    assert sorted(path.name for path in (place / "runs").iterdir() if path.is_dir()) == [
        f"{name}-few" for name in names
    ]
    assert len(names) == 4
    for name in names:
        ours, theirs = place / "runs" / f"{name}-few", other / "runs" / name
        for file in ("model.safetensors", "config.json", "metrics.jsonl"):
            assert (ours / file).read_bytes() == (theirs / file).read_bytes(), f"{name} {file}"
        assert rows(ours / "predictions.parquet") == rows(theirs / "predictions.parquet")
        assert succeed("show", f"{name}-few", "--json", workspace=place).data["asked"]["labels"] == "few"


def test_nothing_of_the_main_set_is_made_again(pair: tuple[Path, Path, dict[str, Any]]) -> None:
    place, _, before = pair
    after = digests(place)
    assert {name: after[name] for name in before} == before
    shared = set(digests(place, *SHARED))
    new = [name for name in after.keys() - before.keys() if not name.startswith(("labels/few/", "runs/"))]
    assert not new
    assert shared <= before.keys()


def test_what_is_shared_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = make(tmp_path / "task", upto="split")
    succeed("split", "--labels", "few", "--labelled", "3/class", workspace=place)
    calls: list[tuple[str, str | None]] = []
    for stage in ("extract", "pseudo-label"):
        module, _, name = prepare.MAKERS[stage].partition(":")
        original = getattr(importlib.import_module(module), name)

        def spy(settings: Config, *arguments: Any, stage: str = stage, original: Any = original, **options: Any) -> Any:
            calls.append((stage, settings.labels))
            return original(settings, *arguments, **options)

        monkeypatch.setattr(f"{module}.{name}", spy)
    written: list[Path] = []
    monkeypatch.setattr(
        parquet_files, "write_table", lambda path, *rest: written.append(path) or write_table(path, *rest)
    )
    distill = ("distill", "--weighting", "p=2", *TRAIN)
    succeed(*distill, "--labels", "few", workspace=place)
    shared = digests(place, "features", "pseudo")
    assert len([path for path in written if "source=" in str(path)]) == 4 + 3
    succeed(*distill, workspace=place)
    assert digests(place, "features", "pseudo") == shared
    assert len([path for path in written if "source=" in str(path)]) == 4 + 3
    assert calls == [("extract", "few"), ("pseudo-label", "few"), ("pseudo-label", None)]


def test_splitting_decodes_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = make(tmp_path / "task", upto="split")

    def refuse(*_: object) -> None:
        raise AssertionError("an image is decoded")

    monkeypatch.setattr(decoding, "image_info", refuse)
    succeed("split", "--labels", "few", "--labelled", "3/class", workspace=place)
    succeed("split", "--labels", "other", "--seed", "5", "--probe-per-class", "2", workspace=place)
    main = rows(place / "manifest.parquet")
    for name, labelled, probe in (("few", 9, 9), ("other", 15, 6)):
        own = rows(place / "labels" / name / "manifest.parquet")
        assert sum(row["split"] == "labelled" for row in own) == labelled
        assert sum(row["probe"] for row in own) == probe
        assert [row["id"] for row in own if row["split"] == "test"] == [
            row["id"] for row in main if row["split"] == "test"
        ]
        fixed = ("id", "data", "path", "sha256", "width", "height", "group")
        assert [[row[key] for key in fixed] for row in own] == [[row[key] for key in fixed] for row in main]
        assert all((row["label"] is None) == (row["split"] != "labelled") for row in own)
        assert all(
            (a["label"] if a["truth"] is None else a["truth"]) == (b["label"] if b["truth"] is None else b["truth"])
            for a, b in zip(own, main, strict=True)
        )


def test_a_missing_main_set_is_made_first(tmp_path: Path) -> None:
    place = make(tmp_path / "task")
    result = succeed("split", "--labels", "few", "--labelled", "3/class", "--dry-run", workspace=place)
    assert "would then draw" in result.err
    assert not (place / "manifest.parquet").exists()
    assert not (place / "labels").exists()
    result = succeed("split", "--labels", "few", "--labelled", "3/class", "--json", workspace=place)
    assert (result.data["labelled"], result.data["test"]) == (9, 6)
    assert len(rows(place / "manifest.parquet")) == 36


def test_one_set_is_made_again_alone(task: Path) -> None:
    succeed("score", "--metric", "parc", "--labels", "few", workspace=task)
    main, own = digests(task / "scores"), digests(task / "labels" / "few" / "scores")
    succeed("score", "--metric", "parc", "--labels", "few", "--overwrite", workspace=task)
    assert digests(task / "scores") == main
    after = digests(task / "labels" / "few" / "scores")
    assert {name: sha for name, (sha, _) in after.items()} == {name: sha for name, (sha, _) in own.items()}
    assert all(time > own[name][1] for name, (_, time) in after.items())
    succeed("split", "--labels", "few", "--labelled", "2/class", "--overwrite", workspace=task)
    result = run("score", "--metric", "parc", "--labels", "few", workspace=task)
    assert result.code == 2
    assert result.error.endswith("zoo score --metric parc --labels few --overwrite makes it again")
    succeed("score", "--metric", "parc", "--labels", "few", "--refresh", workspace=task)
    assert digests(task / "scores") == main
    few = digests(task / "labels")
    succeed("split", "--labelled", "4/class", "--overwrite", workspace=task)
    succeed("score", "--metric", "parc", "--refresh", workspace=task)
    assert digests(task / "labels") == few
    # Other labels of the main set change nothing.
    succeed("score", "--metric", "parc", "--labels", "few", workspace=task)


def test_a_new_image_makes_a_label_set_stale(task: Path) -> None:
    image = (task / "images" / "red" / "00.png").read_bytes()
    (task / "images" / "red" / "zz.png").write_bytes(image + b"another")
    result = run("split", "--labels", "few", workspace=task)
    assert result.code == 2
    assert "/manifest.parquet was made from other inputs: images; zoo split --overwrite" in result.error
    succeed("split", "--overwrite", workspace=task)
    for command in (("split",), ("rank",), ("distill", "--lam", "1", *TRAIN), ("pseudo-label", "--head", "ridge")):
        result = run(*command, "--labels", "few", workspace=task)
        assert result.code == 2
        assert "labels/few/manifest.parquet was made from other inputs: images" in result.error
        assert result.error.endswith("zoo split --labels few --overwrite makes it again")
    succeed("extract", "--refresh", workspace=task)
    result = succeed("score", "--metric", "parc", "--labels", "few", "--refresh", workspace=task)
    own = rows(task / "labels" / "few" / "manifest.parquet")
    assert (len(own), sum(row["split"] == "labelled" for row in own)) == (37, 9)
    main = rows(task / "manifest.parquet")
    assert [row["split"] == "test" for row in own] == [row["split"] == "test" for row in main]


def test_a_damaged_label_set_can_be_drawn_again(task: Path) -> None:
    own = task / "labels" / "few" / "manifest.parquet"
    before = own.read_bytes()
    own.write_bytes(before[:100])
    for command in (("rank", "--refresh"), ("split",), ("split", "--overwrite"), ("split", "--labelled", "3/class")):
        result = run(*command, "--labels", "few", workspace=task)
        assert result.code == 3
        assert "labels/few/manifest.parquet is not an intact parquet file" in result.error
    succeed("split", "--labels", "few", "--labelled", "3/class", "--overwrite", workspace=task)
    assert own.read_bytes() == before


def test_another_test_part_makes_a_label_set_stale(task: Path) -> None:
    succeed("split", "--test", "40%", "--overwrite", workspace=task)
    assert "was made from other inputs: images" in run("rank", "--labels", "few", workspace=task).error
    succeed("split", "--labels", "few", "--overwrite", workspace=task)
    own, main = rows(task / "labels" / "few" / "manifest.parquet"), rows(task / "manifest.parquet")
    assert sum(row["split"] == "test" for row in own) == 15
    assert [row["split"] == "test" for row in own] == [row["split"] == "test" for row in main]


def test_zoo_toml_decides_what_a_label_set_was_not_given(task: Path) -> None:
    edit(task, 'labelled = "50%"', 'labelled = "4/class"')
    succeed("score", "--metric", "parc", "--labels", "few", workspace=task)
    assert "labelled (50% there" in run("score", "--metric", "parc", workspace=task).error
    edit(task, 'probe = "all"', "probe = 6")
    error = run("score", "--metric", "parc", "--labels", "few", workspace=task).error
    assert "labels/few/manifest.parquet was made from other inputs: probe (all there, 6 requested)" in error
    error = run("split", "--labels", "few", "--labelled", "2/class", workspace=task).error
    assert "labelled (3/class there, 2/class requested)" in error
    assert error.endswith("use --overwrite to make it again")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/x", "a=b", "a:b", "-x", ".x", "a b", "a\nb", "x" * 33]
)
def test_a_name_is_one_safe_folder(kept_task: Path, name: str) -> None:
    before = digests(kept_task.parent)
    for command in (("split", "--labelled", "2/class"), ("rank",)):
        result = run(*command, f"--labels={name}", workspace=kept_task)
        assert result.code == 2
        assert "cannot name a label set" in result.error
    assert digests(kept_task.parent) == before


@pytest.mark.parametrize("name", ["few-5", "5%", "größer", "a.b_c+d"])
def test_usual_names_are_fine(task: Path, name: str) -> None:
    succeed("split", "--labels", name, "--labelled", "2/class", workspace=task)
    succeed("distill", "--lam", "1", *TRAIN, "--labels", name, workspace=task)
    assert (task / "runs" / f"labels-only-s0-{name}" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rank", "--labels", "fwe"), 'no label set "fwe"; did you mean few? one of: few'),
        (("show", "ranking.parquet", "--labels", "fwe"), 'no label set "fwe"; did you mean few? one of: few'),
        (("show", "ranking.parquet", "--labels", "few"), "labels/few/ranking.parquet"),
        (("evaluate", "ranking", "--labels", "fwe"), 'no label set "fwe"; did you mean few? one of: few'),
        (("split", "--labels", "b"), "would be the main one again; give it a --labelled, --seed"),
        (("split", "--labels", "b", "--labelled", "0"), 'labelled = "0"'),
        (("split", "--labels", "b", "--probe", "x"), "probe = x"),
        (("split", "--labels", "few", "--test", "30%"), "--test and --labels cannot be combined"),
        (("split", "--labels", "few", "--follow-links"), "--follow-links and --labels cannot be combined"),
        (("score", "--labels", "few", "--manifest", "x"), "--labels and --manifest cannot be combined"),
        (("rank", "--labels", "few", "--features", "x"), "--labels and --features cannot be combined"),
        (("distill", "--labels", "few", "--manifest", "x"), "--labels and --manifest cannot be combined"),
        (("pseudo-label", "--labels", "few"), "--labels belongs to --head"),
        (("extract", "--labels", "few"), "--labels belongs to --gradients"),
        (("predict", "a", "--labels", "few", "--data", "folder:x"), "--labels belongs to --heads"),
    ],
)
def test_wrong_use_is_one_line(kept_task: Path, arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments, workspace=kept_task)
    assert result.code == 2
    assert message in result.error


def test_the_longest_name_of_a_run_leaves_room_for_the_set(tmp_path: Path) -> None:
    few = Config(tmp_path).with_labels("f" * 32)
    (path,) = RunPaths().resolve(few, ["x" * 147])
    assert path.path == tmp_path / "runs" / f"{'x' * 147}-s0-{'f' * 32}"
    with pytest.raises(ParameterError, match="too long: 151 bytes"):
        RunPaths().resolve(few, ["x" * 148])
    (typed,) = RunPaths(name="mine").resolve(few, ["x"])
    assert typed.path == tmp_path / "runs" / "mine"


def test_without_any_label_set_the_hint_makes_one(tmp_path: Path) -> None:
    error = run("rank", "--labels", "few", workspace=make(tmp_path / "task")).error
    assert error.endswith("zoo split --labels few --labelled N makes it")


def test_images_inside_the_manifest_are_referred_to(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="split")
    table = pq.read_table(place / "manifest.parquet")
    images = [(place / path).read_bytes() for path in table.column("path").to_pylist()]
    images[0] = None  # one image is still a file
    paths = [table.column("path")[0].as_py(), *[None] * (len(images) - 1)]
    for name, values in (("image", images), ("path", paths)):
        position = table.schema.get_field_index(name)
        table = table.set_column(position, table.schema.field(name), [values])
    pq.write_table(table, place / "manifest.parquet", row_group_size=7)
    succeed("split", "--labels", "few", "--labelled", "3/class", workspace=place)
    own = place / "labels" / "few" / "manifest.parquet"
    assert set(pq.read_table(own).column("image").to_pylist()) == {None}
    main, few = load_manifest(place / "manifest.parquet", place), load_manifest(own, place)
    assert [few.encoded(row) for row in range(36)] == [main.encoded(row) for row in range(36)]
    succeed("distill", "--lam", "1", *TRAIN, "--labels", "few", workspace=place)


def test_gradients_are_shared_and_added_to(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="extract")
    succeed("split", "--labels", "few", "--labelled", "2/class", workspace=place)
    succeed("score", "--metric", "lgc", workspace=place)
    main = digests(place, "scores", "gradients")
    succeed("extract", "--gradients", "--labels", "few", workspace=place)
    succeed("split", "--labels", "b", "--seed", "7", workspace=place)
    succeed("score", "--metric", "lgc", "--labels", "b", workspace=place)
    after = digests(place, "scores", "gradients")
    assert {name: after[name] for name in main} == main
    assert len(after) > len(main)
    assert not (place / "labels" / "b" / "gradients").exists()
    succeed("score", "--metric", "lgc", workspace=place)  # still up to date
    assert digests(place, "scores", "gradients") == after


def test_answers_are_those_of_the_label_set(task: Path) -> None:
    ranked = succeed("rank", "--labels", "few", "--json", workspace=task)
    assert '"next": "zoo pseudo-label --head ridge --show 20 --labels few"' in ranked.out
    shown = succeed("show", "ranking.parquet", "--labels", "few", "--json", workspace=task).data
    assert shown["file"].endswith("labels/few/ranking.parquet")
    predict = ("predict", "--heads", "--labels", "few", "--data", f"folder:{task / 'images' / 'red'}", "--json")
    error = run(*predict, workspace=task).error
    assert "labels/few/pseudo/head=ridge-product; zoo pseudo-label --head ridge --labels few makes it" in error
    listed = succeed("pseudo-label", "--head", "ridge", "--show", "2", "--labels", "few", "--json", workspace=task)
    unlabelled = {row["id"] for row in rows(task / "labels/few/manifest.parquet") if row["split"] == "unlabelled"}
    assert {row["id"] for row in listed.data} <= unlabelled
    assert len(succeed(*predict, workspace=task).data) == 12


def test_notebook_has_a_workspace_for_each_set(task: Path) -> None:
    few = zoo.Workspace(task, labels="few")
    assert few.split(labelled="3/class").labelled == 9
    assert {row.n for row in few.score().rows} == {9}
    assert {row.n for row in zoo.Workspace(task).score().rows} == {15}
    with pytest.raises(UsageError, match="did you mean few"):
        zoo.Workspace(task, labels="fwe").rank()
    more = zoo.Workspace(task, labels="more")
    assert more.split(labelled="4/class").labelled == 12
    edit(task, 'probe = "all"', "probe = 6")
    with pytest.raises(UsageError, match=r"split\(overwrite=True\) makes it again"):
        more.rank()
