"""A report of what is missing, gone, hostile or large: the page still opens, and says what it lacks."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.evaluate.made_runs import draw_labels, draw_predictions, make_run, make_workspace
from tests.report.html_reader import Page, read_page
from tests.report.report_workspace import add_runs
from tests.workspaces import make, write_class_names
from zoo_cli.pipeline.report import ReportConfig, write_report
from zoo_cli.report import page as report_page


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots are drawn by other tests."""
    monkeypatch.setattr(report_page, "_draw_twice", lambda *_: [("wide", ""), ("narrow", "")])


def write(workspace: Path) -> tuple[Page, list[str]]:
    """The page of a workspace, and what it says is missing."""
    result = write_report(ReportConfig((workspace,), workspace / "report.html"))
    text = result.path.read_text(encoding="utf-8")
    assert len(text.encode()) == result.size
    return read_page(text), [line for lines in result.missing.values() for line in lines]


def test_nothing_but_a_zoo_toml(tmp_path: Path) -> None:
    page, missing = write(make(tmp_path / "task"))
    assert "zoo split makes it" in page.sections["task"]
    assert "zoo rank makes it" in page.sections["ranking"]
    assert "zoo pseudo-label --head ridge makes one" in page.sections["heads"]
    assert "zoo distill makes one" in page.sections["accuracy"]
    assert "no finished run in runs" in page.sections["accuracy"]
    assert len(missing) == 6, "each once"


def test_no_runs_yet(tmp_path: Path) -> None:
    page, missing = write(make(tmp_path / "task", upto="rank"))
    assert "fits" in page.sections["ranking"]
    assert "an image of blue" in page.attributes("img", "alt")
    assert set(missing) >= {"no finished run in runs", "no pool of target heads", "no log of a training"}


def test_runs_without_images(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "task", "pets")
    labels = draw_labels(50, 0)
    make_run(workspace, "labels-only-s0", labels, draw_predictions(labels, 0.5, 1), asked={})
    make_run(workspace, "better", labels, draw_predictions(labels, 0.9, 2), asked={"weighting": "p=2"})
    page, _ = write(workspace)
    assert "The images cannot be shown: no manifest" in page.sections["gained"]
    assert "“better” is the most accurate" in page.sections["accuracy"]
    assert "cat" in page.sections["confusions"]


def test_one_run_has_nothing_to_compare_with(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "task", "pets")
    labels = draw_labels(50, 0)
    make_run(workspace, "only", labels, draw_predictions(labels, 0.5, 1), asked={})
    page, _ = write(workspace)
    assert "fewer than two runs to compare" in page.sections["gained"]
    assert "fewer than two runs on the same test images" in page.sections["knowledge"]
    assert "“only” is the most accurate" in page.sections["accuracy"]


def test_images_that_are_gone(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="split")
    add_runs(workspace)
    shutil.rmtree(workspace / "images" / "blue")
    (workspace / "images" / "red" / "00.png").write_bytes(b"another image")
    page, missing = write(workspace)
    assert [line for line in missing if "cannot be shown, e.g. blue/" in line or "cannot be shown, e.g. train/" in line]
    gone = [values["aria-label"] for _, values in page.elements if values.get("class") == "gone"]
    assert "an image of blue: the image is gone" in gone
    assert "an image of green" in page.attributes("img", "alt")


def test_damaged_files_are_named(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="rank")
    add_runs(workspace)
    for name in ("ranking.parquet", "runs/weighted/predictions.parquet", "runs/of-beta/metrics.jsonl"):
        content = (workspace / name).read_bytes()
        (workspace / name).write_bytes(b"{}" + content[: len(content) // 2])
    page, missing = write(workspace)
    assert [line for line in missing if line.startswith("weighted: ")]
    assert "ranking.parquet" in page.sections["ranking"]
    assert "metrics.jsonl" in page.sections["training"]
    assert "“of-beta” is the most accurate" in page.sections["accuracy"]


@pytest.mark.parametrize("file", ["zoo.toml", "manifest.parquet", "runs", "scores", "features", "classes.json"])
def test_half_a_workspace(reported: Path, tmp_path: Path, file: str) -> None:
    workspace = tmp_path / "task"
    shutil.copytree(reported, workspace)
    path = workspace / file
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    page, _ = write(workspace)
    assert len(page.sections) == 12


def test_hostile_class_names(reported: Path, tmp_path: Path) -> None:
    workspace = tmp_path / "task"
    shutil.copytree(reported, workspace)
    names = ['<script>alert("1")</script>\'', "\u202egnp.exe\u2066", "z" * 10_000]
    write_class_names(workspace, names)
    page, _ = write(workspace)
    text = (workspace / "report.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "\u202e" not in text
    assert "\u2066" not in text
    assert "z" * 81 not in text
    assert names[0] in page.sections["task"]
    assert r"\u202egnp.exe\u2066" in page.sections["task"]


def test_a_thousand_classes(tmp_path: Path) -> None:
    names = tuple(f"class {i:03}" for i in range(1000))
    workspace = make_workspace(tmp_path / "task", "many", names)
    labels = np.arange(3000) % 1000
    for number, name in enumerate(("labels-only-s0", "better")):
        wrong = (labels + 1) % 1000
        predicted = np.where(np.random.default_rng(number).random(3000) < 0.5 + 0.3 * number, labels, wrong)
        make_run(workspace, name, labels, predicted, asked={"weighting": name} if number else {}, classes=names)
    page, _ = write(workspace)
    assert "The 30 of 1,000 classes with the most errors." in page.sections["confusions"]
    assert "The 30 most changed of" in page.sections["gained"]
    assert (workspace / "report.html").stat().st_size < 1_000_000
