"""What zoo split makes of folders and tables as they come: splits, classes, labels, links, and paths."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.workspaces import run
from zoo_cli.store.class_names import load_class_names


def write_classes(root: Path, *folders: str, count: int = 4) -> None:
    """Write images of random colours in each folder."""
    random = np.random.default_rng(len(folders))
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = random.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{number}.png")


def ids(workspace: Path) -> list[str]:
    names: list[str] = pq.read_table(workspace / "manifest.parquet").column("id").to_pylist()
    return names


def test_splits_are_not_classes(tmp_path: Path) -> None:
    write_classes(tmp_path, "d/train/a", "d/train/b", "d/test/a", "d/test/b", "d/annotations/masks")
    result = run("split", "--train", f"folder:{tmp_path}/d", workspace=tmp_path)
    assert result.code == 2
    assert f"write folder:{tmp_path}/d/train" in result.error


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_task_of_one_class_is_refused(tmp_path: Path, dry: tuple[str, ...]) -> None:
    write_classes(tmp_path, "d/a")
    result = run("split", "--train", f"folder:{tmp_path}/d", *dry, workspace=tmp_path)
    assert result.code == 2
    assert 'all of one class, "a"' in result.error


def test_one_class_with_images_is_one_class(tmp_path: Path) -> None:
    write_classes(tmp_path, "d/a")
    (tmp_path / "d/b").mkdir()
    result = run("split", "--train", f"folder:{tmp_path}/d", workspace=tmp_path)
    assert result.code == 2
    assert 'all of one class, "a"' in result.error
    assert not (tmp_path / "manifest.parquet").exists()


def test_capitals_keep_classes_apart_with_a_warning(tmp_path: Path) -> None:
    write_classes(tmp_path, "d/Cat", "d/cat", "d/dog")
    result = run("split", "--train", f"folder:{tmp_path}/d", workspace=tmp_path)
    assert result.code == 0
    assert 'classes that differ only in upper and lower case stay apart: "Cat" and "cat"' in result.err
    assert load_class_names(tmp_path / "classes.json") == ("Cat", "cat", "dog")


def test_train_and_test_meet_in_unicode_form(tmp_path: Path) -> None:
    write_classes(tmp_path, "train/caf\u00e9", "train/b", "test/cafe\u0301", "test/b ")
    specs = ("--train", f"folder:{tmp_path}/train", "--test", f"folder:{tmp_path}/test")
    result = run("split", *specs, workspace=tmp_path)
    assert result.code == 0, result.err
    assert set(pq.read_table(tmp_path / "manifest.parquet").column("truth").to_pylist()) == {None, 0, 1}


def test_a_table_without_labels_says_how_to_choose(tmp_path: Path) -> None:
    write_classes(tmp_path, "a", "b")
    rows = "".join(f"{name}/{number}.png,{name},x{number % 2}\n" for name in "ab" for number in range(4))
    (tmp_path / "t.csv").write_text(f"path,fine,coarse\n{rows}")
    result = run("split", "--train", f"csv:{tmp_path}/t.csv", "--test", "0%", workspace=tmp_path)
    assert result.code == 2
    assert 'choose one of "fine", "coarse"' in result.error
    assert f"csv:{tmp_path}/t.csv?label=fine" in result.error
    chosen = ("--train", f"csv:{tmp_path}/t.csv?label=coarse", "--test", f"csv:{tmp_path}/t.csv")
    result = run("split", *chosen, workspace=tmp_path)
    assert result.code == 0
    assert "have no labels" in result.err
    assert run("split", *chosen, workspace=tmp_path).code == 0


def test_typed_roots_are_relative_to_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_classes(tmp_path, "data/images/a", "data/images/b")
    rows = "".join(f"{name}/{number}.png,{name}\n" for name in "ab" for number in range(4))
    (tmp_path / "data/t.csv").write_text(f"path,label\n{rows}")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "data")
    result = run("split", "--train", "csv:t.csv?root=images", workspace=tmp_path / "work")
    assert result.code == 0, result.err
    assert ids(tmp_path / "work")[0] == "train/a/0.png"


def test_links_out_of_the_data_need_the_flag_or_the_key(tmp_path: Path) -> None:
    write_classes(tmp_path, "blobs")
    for number, name in enumerate("aabb"):
        link = tmp_path / "hub" / name / f"{number}.png"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"../../blobs/{number}.png")
    train = ("--train", f"folder:{tmp_path}/hub", "--test", "0%")
    result = run("split", *train, workspace=tmp_path)
    assert result.code == 3
    assert "follow_links = true" in result.error
    assert "--follow-links" in result.error
    assert run("split", *train, "--follow-links", workspace=tmp_path).code == 0
    assert run("split", *train, "--follow-links", workspace=tmp_path).code == 0
    (tmp_path / "zoo.toml").write_text('[task]\ntrain = "folder:hub"\ntest = "0%"\nfollow_links = true\n')
    assert run("split", "--overwrite", workspace=tmp_path).code == 0
    assert len(ids(tmp_path)) == 4
    assert "up to date" in run("split", workspace=tmp_path).err


def test_links_to_folders_are_listed_again(tmp_path: Path) -> None:
    write_classes(tmp_path, "store/a", "store/b")
    (tmp_path / "hub").mkdir()
    for name in "ab":
        (tmp_path / "hub" / name).symlink_to(f"../store/{name}")
    (tmp_path / "zoo.toml").write_text('[task]\ntrain = "folder:hub"\ntest = "0%"\nfollow_links = true\n')
    assert run("split", workspace=tmp_path).code == 0
    shutil.copy(tmp_path / "store/a/0.png", tmp_path / "store/a/9.png")
    result = run("split", workspace=tmp_path)
    assert result.code == 2
    assert "images" in result.error


def test_brackets_of_folders_are_literal(tmp_path: Path) -> None:
    write_classes(tmp_path, "a", "b")
    workspace = tmp_path / "run [1]"
    (workspace / "set[v2]").mkdir(parents=True)
    rows = [
        {"image": {"bytes": file.read_bytes(), "path": None}, "label": file.parent.name}
        for file in sorted(tmp_path.glob("[ab]/*.png"))
    ]
    pq.write_table(pa.Table.from_pylist(rows), workspace / "set[v2]/x.parquet")
    (workspace / "zoo.toml").write_text('[task]\ntrain = "parquet:set[v2]/*.parquet"\ntest = "0%"\n')
    assert run("split", workspace=workspace).code == 0
    assert len(ids(workspace)) == 8
    assert "up to date" in run("split", workspace=workspace).err


def test_folders_that_link_to_each_other_end(tmp_path: Path) -> None:
    """Each of two links leads back: without care there are 2^40 paths."""
    write_classes(tmp_path, "d/a", "d/b")
    for name in ("first", "second"):
        (tmp_path / "d/a" / name).symlink_to("..", target_is_directory=True)
    result = run("split", "--train", f"folder:{tmp_path}/d", "--follow-links", workspace=tmp_path)
    assert result.code == 3
    assert "leads back to a folder above it" in result.error
