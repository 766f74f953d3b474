"""`zoo report`: what each section says of a workspace in which everything is stored."""

from pathlib import Path

import pytest

import zoo_cli as zoo
from tests.report.html_reader import Page, read_page
from tests.workspaces import CLASSES, make, run
from zoo_cli.pipeline.evaluate.flips import FlipsConfig, compare_flips
from zoo_cli.pipeline.report import ReportConfig, write_report
from zoo_cli.report import page as report_page

SECTIONS = {
    "task": "Task and data",
    "ranking": "Ranking of the sources",
    "weights": "Weights of the sources",
    "heads": "What the sources know together",
    "training": "Training",
    "accuracy": "Accuracy of the students",
    "gained": "Images gained and lost",
    "confusions": "Confusions",
    "calibration": "Calibration",
    "knowledge": "Complementary knowledge",
    "scores": "Scores against accuracies",
    "cost": "Accuracy against cost",
}


@pytest.fixture(scope="module")
def page(reported: Path) -> Page:
    return read_page((reported / "report.html").read_text(encoding="utf-8"))


def test_every_section_is_there_and_whole(page: Page) -> None:
    assert list(page.sections) == list(SECTIONS)
    for key, title in SECTIONS.items():
        assert title in page.sections[key]
    assert not [values for _, values in page.elements if "missing" in values.get("class", "").split()]


def test_task_shows_images_of_every_class(page: Page) -> None:
    assert "Seen in the data:" not in page.sections["task"]
    for name in CLASSES:
        assert page.attributes("img", "alt").count(f"an image of {name}") == 9


def test_ranking_says_what_rank_says(reported: Path, page: Page) -> None:
    result = run("rank", "--json", workspace=reported)
    for row in result.data:
        assert f"{row['source']} {row['rank']} {row['value']:.3f}".replace("-", "−") in page.sections["ranking"]
    assert "student, untrained" in page.sections["ranking"]
    assert f"{result.data[0]['source']} leads" in page.sections["ranking"], "a name keeps its letters"


def test_weights_are_those_of_the_weighting(reported: Path, page: Page) -> None:
    result = run("rank", "--weighting", "p=4", "--json", workspace=reported)
    table = page.sections["weights"].partition("Weights at some powers")[2].split()
    columns = [word for word in table if word[:1].isdigit() or word in ("alpha", "beta", "gamma")]
    for row in result.data:
        # The powers 0, 1, 2, 4 and 12 follow the name; a share and its percent sign are one word.
        at_four = columns[columns.index(row["source"]) + 4]
        assert at_four == f"{100 * row['weight']:.1f}"
    assert run("rank", workspace=reported).code == 0


def test_heads_show_the_estimate(reported: Path, page: Page) -> None:
    result = run("pseudo-label", "--head", "ridge", "--json", workspace=reported)
    for row in result.data:
        assert f"{row['source']} {100 * row['weight']:.1f}" in page.sections["heads"]
    assert "Label next" in page.sections["heads"]


def test_accuracy_is_that_of_evaluate(reported: Path, page: Page) -> None:
    result = run("evaluate", "accuracy", "--json", workspace=reported)
    assert len(result.data) == 4
    for row in result.data:
        assert f"{row['run']} {100 * row['accuracy']:.1f}" in page.sections["accuracy"]
    assert "“weighted” is the most accurate" in page.sections["accuracy"]


def test_gained_and_lost_images_are_shown(reported: Path, page: Page) -> None:
    flips = compare_flips(FlipsConfig(reported, "labels-only-s0", "weighted"))
    marks = page.attributes("li", "class")
    assert flips.statistics.positive > 0
    assert marks.count("gained") == flips.statistics.positive
    assert marks.count("lost") == flips.statistics.negative
    assert f"gained {flips.statistics.positive} test images" in page.sections["gained"]
    row = next(row for row in flips.classes if row.positive)
    assert f"{row.positive} gained, {row.negative} lost of {row.n}" in page.sections["gained"]
    assert any(alt.startswith(f"gained: {row.name}, taken for ") for alt in page.attributes("img", "alt"))


def test_the_other_sections_show_their_numbers(reported: Path, page: Page) -> None:
    accuracy = {row["run"]: row for row in run("evaluate", "accuracy", "--json", workspace=reported).data}
    error = 100 * accuracy["weighted"]["ece"]
    assert f"{error:.1f} % of “weighted”" in page.sections["calibration"]
    assert "“weighted” most often takes" in page.sections["confusions"]
    assert "Even the best run can learn: “of-" in page.sections["knowledge"]
    assert "parc features orders the sources" in page.sections["scores"]
    assert "weighted 83.3 % 40 s 11 M 1.8 G" in page.sections["cost"]


def test_every_plot_is_on_the_page(page: Page) -> None:
    assert page.attributes("figure", "class") == ["plot"] * 12
    assert len(page.attributes("svg", "viewbox")) == 24


def test_plots_are_also_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_page, "_draw_twice", lambda *_: [("wide", ""), ("narrow", "")])
    result = run("report", str(make(tmp_path / "task", upto="rank")), "--plots", str(tmp_path / "figures"))
    assert result.code == 0, result.err
    names = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert names == {"classes", "ranking", "weights"}
    for name in names:
        assert (tmp_path / "figures" / f"{name}.svg").read_text(encoding="utf-8").rstrip().endswith("</svg>")
        assert (tmp_path / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_same_workspace_same_bytes(reported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_page, "_draw_twice", lambda *_: [("wide", ""), ("narrow", "")])
    for name in ("first.html", "second.html"):
        write_report(ReportConfig((reported,), tmp_path / name))
    assert (tmp_path / "first.html").read_bytes() == (tmp_path / "second.html").read_bytes()


def test_several_workspaces_are_one_page(reported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_page, "_draw_twice", lambda *_: [("wide", ""), ("narrow", "")])
    other = tmp_path / "other"
    other.mkdir()
    (other / "zoo.toml").write_text('[task]\nname = "birds"\ntrain = "folder:x"\n', encoding="utf-8")
    result = write_report(ReportConfig((reported, other), tmp_path / "targets.html"))
    page = read_page(result.path.read_text(encoding="utf-8"))
    assert {f"t{n}-{key}" for n in (1, 2) for key in SECTIONS} <= set(page.sections)
    ids = {values["id"] for _, values in page.elements if "id" in values}
    links = {link.removeprefix("#") for link in page.attributes("a", "href")}
    assert links <= ids
    assert {"targets", "t1", "t2"} <= links | {"targets"}
    assert list(result.missing) == [str(other)]


def test_no_workspace_is_refused(tmp_path: Path) -> None:
    assert "no workspace at" in run("report", str(tmp_path)).error


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_page, "find_spec", lambda _: None)
    assert 'pip install "zoo-cli[plot]"' in run("report", str(tmp_path)).error


def test_the_headline_names_the_best(page: Page, reported: Path) -> None:
    text = (reported / "report.html").read_text(encoding="utf-8")
    assert "<dt>best student</dt>" in text
    assert "<h1>patterns</h1>" in text
    assert page.attributes("html", "lang") == ["en"]


def test_workspace_reports_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_page, "_draw_twice", lambda *_: [("wide", ""), ("narrow", "")])
    workspace = zoo.Workspace(make(tmp_path / "task", upto="split"))
    result = workspace.report(plots=tmp_path / "figures")
    assert result.path == tmp_path / "task" / "report.html"
    assert {path.name for path in result.plots} == {"classes.svg", "classes.png"}
    assert workspace.report(tmp_path / "page.html").path.read_bytes() == result.path.read_bytes()
    assert "no ranking of the sources" in result.missing[str(tmp_path / "task")]
