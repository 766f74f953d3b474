"""What the report shows of copies, and of what `zoo split` saw in pixels and files."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.report.html_reader import read_page
from tests.workspaces import make, run
from zoo_cli.pipeline.report import ReportConfig, write_report
from zoo_cli.report import page as report_page
from zoo_cli.store import split_notes


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots are drawn by other tests."""
    monkeypatch.setattr(report_page, "_draw_twice", lambda *_: [("wide", ""), ("narrow", "")])


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace with copies, an image of one colour, and a file that is not an image."""
    workspace = make(tmp_path / "task")
    images = workspace / "images"
    shutil.copy(images / "blue" / "00.png", images / "green" / "blue.png")
    shutil.copy(images / "red" / "00.png", images / "red" / "again.png")
    Image.new("RGB", (12, 12), "red").save(images / "red" / "plain.png")
    (images / "red" / "notes.txt").write_text("x", encoding="utf-8")
    result = run("split", workspace=workspace)
    assert result.code == 0, result.err
    return workspace


def task_section(workspace: Path) -> str:
    result = write_report(ReportConfig((workspace,), workspace / "report.html"))
    return read_page(result.path.read_text(encoding="utf-8")).sections["task"]


def test_page_says_what_split_saw(workspace: Path) -> None:
    text = task_section(workspace)
    assert "1 file is not an image and was passed over: .txt (1)" in text
    assert "1 image is of one colour" in text
    assert text.count("1 image occurs under more than one label") == 1
    assert run("verify", workspace=workspace).code == 0


def test_copies_of_several_classes_come_first(workspace: Path) -> None:
    text = task_section(workspace)
    start = text.index("Images that occur more than once")
    assert "blue and green train/blue/00.png, train/green/blue.png" in text[start:]
    assert text.index("blue and green", start) < text.index("red/again.png", start)


def test_damaged_notes_are_named(workspace: Path) -> None:
    (path,) = (workspace / "errors").glob("split.seen.json")
    path.write_text(path.read_text(encoding="utf-8").replace("colour", "color"), encoding="utf-8")
    assert "split.seen.json is damaged" in task_section(workspace)
    assert run("verify", workspace=workspace).code == 3


def test_notes_go_with_what_they_were_of(workspace: Path) -> None:
    for name in ("plain.png", "notes.txt"):
        (workspace / "images" / "red" / name).unlink()
    assert run("split", "--overwrite", workspace=workspace).code == 0
    assert not (workspace / "errors" / split_notes.FILE).exists()
    assert "of one colour" not in task_section(workspace)


def test_things_that_are_missing_are_named_once(tmp_path: Path) -> None:
    err = run("report", workspace=make(tmp_path / "task", upto="split")).err
    assert err.count("missing: no finished run in runs\n") == 1
