"""-C names a folder that does not exist yet, or a link: typed paths are relative to the current folder all the same."""

from pathlib import Path

import pytest

from tests.guide.readme_blocks import draw_images, write_student
from tests.workspaces import run

TRAIN = ("--train", "folder:pets/train")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with images and a model."""
    here = tmp_path / "here"
    draw_images(here / "pets")
    write_student(here / "models" / "birds")
    monkeypatch.chdir(here)
    return here


@pytest.mark.parametrize(
    "command",
    [
        ("split", *TRAIN),
        ("split", *TRAIN, "--labelled", "4/class", "--test", "folder:pets/test"),
        ("extract", *TRAIN, "--source", "file:models/birds"),
        ("init", *TRAIN, "--source", "file:models/birds"),
    ],
)
@pytest.mark.parametrize("name", ["work", "some/where/work"])
def test_missing_folder_is_made(command: tuple[str, ...], name: str, folder: Path) -> None:
    result = run(*command, "-C", name)
    assert result.code == 0, result.err
    assert (folder / name / ("zoo.toml" if command[0] == "init" else "manifest.parquet")).exists()
    again = run(*command, "-C", name)
    assert again.code == 0, again.err
    assert "up to date" in again.err


def test_later_commands_go_on_from_the_new_folder(folder: Path) -> None:
    assert run("split", *TRAIN, "-C", "work").code == 0
    for command in (("extract", "--source", "file:models/birds"), ("rank", "--source", "file:models/birds")):
        result = run(*command, "-C", "work")
        assert result.code == 0, result.err
    assert (folder / "work" / "ranking.parquet").exists()


def test_linked_folder_is_the_workspace(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "far" / "away"
    target.mkdir(parents=True)
    (folder / "link").symlink_to(target)
    for command in (("split", *TRAIN), ("extract", "--source", "file:models/birds")):
        result = run(*command, "-C", "link")
        assert result.code == 0, result.err
    assert (target / "features" / "source=birds" / "_source.json").exists()


def test_nothing_is_made_after_a_wrong_path(folder: Path) -> None:
    result = run("split", "--train", "folder:pets/tran", "-C", "work")
    assert result.code == 2
    assert "pets/tran" in result.error
    assert not (folder / "work").exists()


def test_dry_run_makes_no_folder(folder: Path) -> None:
    result = run("split", *TRAIN, "--dry-run", "-C", "work")
    assert result.code == 0, result.err
    assert not (folder / "work").exists()
