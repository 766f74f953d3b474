"""zoo evaluate accuracy --by: groups of runs by what they were asked, and the arithmetic of the tables."""

import io
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.evaluate.made_runs import CLASSES, draw_labels, draw_predictions, make_run, make_workspace
from tests.test_progress import Terminal
from tests.workspaces import Result, run
from zoo_cli import __main__, console
from zoo_cli.evaluation.methods import name_methods

N = 90
P2 = {"weighting": "p=2", "metric": "parc", "on": "features", "min_weight": 1e-4}
METHODS = {"labels-only": ({}, 0.5), "p2": (P2, 0.7), "equal": ({**P2, "weighting": "equal"}, 0.6)}


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """Two tasks with three methods of two seeds each; the names of the runs say nothing."""
    for position, task in enumerate(("pets", "cars")):
        workspace, labels = make_workspace(tmp_path / task, task), draw_labels(N, position)
        for number, (asked, accuracy) in enumerate(METHODS.values()):
            for seed in (0, 1):
                predicted = draw_predictions(labels, accuracy, 10 * position + 2 * number + seed)
                make_run(workspace, f"x{7 * number + seed}", labels, predicted, seed=seed, asked=asked)
    return tmp_path


def tabulate(*arguments: str | Path) -> Result:
    result = run("evaluate", "accuracy", *map(str, arguments), "--json")
    assert result.code == 0, result.err
    return result


def terminal(*arguments: str) -> str:
    """What a command prints on a terminal, without its colours."""
    out = Terminal()
    with console.use(console.Console(out, io.StringIO())):
        assert __main__.main([*arguments]) == 0
    return re.sub("\x1b\\[[0-9;]*m", "", out.getvalue())


def right(run_folder: Path) -> np.ndarray:
    table = pq.read_table(run_folder / "predictions.parquet")
    logits = np.array(table.column("logits").to_pylist())
    return np.asarray(logits.argmax(axis=1) == table.column("label").to_numpy())


def test_cells_are_means_over_seeds_and_gains_are_paired(tasks: Path) -> None:
    data = tabulate(tasks / "pets", tasks / "cars", "--by", "method").data
    assert data["rows"][0]["name"] == "labels-only"
    cells = {(cell["name"], cell["target"]): cell for cell in data["cells"]}
    assert len(cells) == 6
    for task in ("pets", "cars"):
        for number, name in enumerate(("labels-only", "cross-task p=2", "cross-task equal")):
            seeds = np.stack([right(tasks / task / "runs" / f"x{7 * number + seed}") for seed in (0, 1)])
            cell = cells[name, task]
            assert cell["accuracy"] == pytest.approx(seeds.mean())
            assert cell["deviation"] == pytest.approx(seeds.mean(axis=1).std(ddof=1))
            base = np.stack([right(tasks / task / "runs" / f"x{seed}") for seed in (0, 1)])
            if number:
                assert cell["gain"] == pytest.approx(seeds.mean() - base.mean())
                assert cell["gain_low"] < cell["gain"] < cell["gain_high"]
            else:
                assert cell["gain"] is None
    row = next(row for row in data["rows"] if row["name"] == "cross-task p=2")
    gains = [cells["cross-task p=2", task]["gain"] for task in ("pets", "cars")]
    assert row["gain"] == pytest.approx(np.mean(gains))
    assert row["parameters"] == 11_000_000


def test_a_folder_of_workspaces_is_all_of_them(tasks: Path) -> None:
    assert tabulate(tasks, "--by", "method").data == tabulate(tasks / "cars", tasks / "pets", "--by", "method").data


def test_runs_of_one_source_are_one_method_or_a_row_each(tasks: Path) -> None:
    labels = draw_labels(N, 0)
    for position, source in enumerate(("alpha", "beta")):
        for seed in (0, 1):
            predicted = draw_predictions(labels, 0.6, 50 + 2 * position + seed)
            make_run(tasks / "pets", f"y{position}{seed}", labels, predicted, seed=seed, asked={"source": source})
    by_method = tabulate(tasks / "pets", "--by", "method").data
    cell = next(cell for cell in by_method["cells"] if cell["name"] == "cross-task each source")
    assert (cell["runs"], cell["seeds"]) == (4, 2)
    expected = np.mean([right(tasks / "pets" / "runs" / name) for name in ("y00", "y01", "y10", "y11")])
    assert cell["accuracy"] == pytest.approx(expected)
    by_source = tabulate(tasks / "pets", "--by", "source").data
    assert {row["name"] for row in by_source["rows"]} == {"labels-only", "cross-task alpha", "cross-task beta"}


def test_cell_with_fewer_seeds_says_so(tasks: Path) -> None:
    labels = draw_labels(N, 0)
    make_run(tasks / "pets", "z", labels, labels, asked={**P2, "weighting": "nearest"})
    text = run("evaluate", "accuracy", str(tasks), "--by", "method", "--format", "table").out
    assert "100.0 [1]" in text
    assert "[N]: N seeds, fewer than the others of this target" in text
    assert "100.0 (1)" in text


def test_names_tell_methods_apart_and_are_short() -> None:
    base = {"weighting": "p=2", "metric": "parc", "lr": "0.01"}
    keys = [
        ("cross-task", base),
        ("cross-task", {**base, "weighting": "equal"}),
        ("cross-task", {**base, "lr": "0.1"}),
        ("heads", {"head": "ridge", "pool": "product", "lr": "0.01"}),
        ("heads", {"head": "ridge", "pool": "kernel", "lr": "0.01"}),
    ]
    assert name_methods(keys) == [
        "cross-task p=2 lr=0.01",
        "cross-task equal",
        "cross-task p=2 lr=0.1",
        *(["heads product", "heads kernel"]),
    ]


def test_other_learning_rates_are_other_methods(tasks: Path) -> None:
    labels = draw_labels(N, 0)
    make_run(tasks / "pets", "z", labels, labels, asked=P2, options={"lr": 0.5})
    names = {row["name"] for row in tabulate(tasks / "pets", "--by", "method").data["rows"]}
    assert names == {"labels-only", "cross-task equal", "cross-task p=2 lr=0.01", "cross-task p=2 lr=0.5"}


def test_runs_of_earlier_versions_are_grouped_by_their_weights(tasks: Path) -> None:
    labels = draw_labels(N, 0)
    weights = [{"source": "alpha", "weight": 0.5}, {"source": "beta", "weight": 0.5}]
    make_run(tasks / "pets", "old", labels, labels, weights=weights, options={"steps": 300})
    make_run(tasks / "pets", "old-one", labels, labels, weights=[{"source": "beta", "weight": 1.0}])
    names = {row["name"] for row in tabulate(tasks / "pets", "--by", "method").data["rows"]}
    assert any(name.startswith("cross-task 2 sources ") for name in names)
    assert "cross-task each source" in names


def test_baseline_is_named_by_method_or_run(tasks: Path) -> None:
    by_name = tabulate(tasks, "--by", "method", "--baseline", "cross-task equal").data
    assert by_name["rows"][0]["name"] == "cross-task equal"
    assert tabulate(tasks, "--by", "method", "--baseline", "x14").data == by_name


@pytest.mark.parametrize("form", ["table", "md"])
def test_no_number_or_name_is_cut(tasks: Path, form: str) -> None:
    text = run("evaluate", "accuracy", str(tasks), "--by", "method", "--format", form).out
    for row in tabulate(tasks, "--by", "method").data["cells"]:
        assert row["name"] in text
        assert f"{100 * row['accuracy']:.1f} ± {100 * row['deviation']:.1f}" in text
    assert "…" not in text


def test_csv_has_a_line_a_cell_and_parquet_the_same_rows(tasks: Path) -> None:
    out = tasks / "cells.parquet"
    text = run("evaluate", "accuracy", str(tasks), "--by", "method", "--format", "csv", "--out", str(out)).out
    assert len(text.strip().splitlines()) == 1 + 6
    assert pq.read_table(out).column("name").to_pylist() == [line.split(",")[0] for line in text.splitlines()[1:]]


def test_what_cannot_be_compared_is_one_line(tasks: Path) -> None:
    def fails(*arguments: str | Path, code: int) -> str:
        result = run("evaluate", "accuracy", *map(str, arguments))
        assert result.code == code, result.err
        return result.error

    assert "no method or run" in fails(tasks, "--by", "method", "--baseline", "labels-onyl", code=2)
    assert "--by is" in fails(tasks, "--by", "methods", code=2)
    assert "--baseline belongs to --by" in fails("--baseline", "x", code=2)
    assert "no workspace with runs" in fails(tasks / "nowhere", "--by", "method", code=2)
    other = make_workspace(tasks / "other", "pets", (*CLASSES, "fox"))
    make_run(other, "a", draw_labels(N, 0), draw_labels(N, 0), asked={})
    assert "with other classes" in fails(tasks, "--by", "method", code=2)
    labels = draw_labels(N - 1, 0)
    make_run(tasks / "pets", "z", labels, labels, asked=P2)
    assert "hold different samples" in fails(tasks / "pets", "--by", "method", code=3)


def test_same_question_twice_is_refused(tasks: Path) -> None:
    labels = draw_labels(N, 0)
    make_run(tasks / "pets", "again", labels, labels, asked=P2)
    result = run("evaluate", "accuracy", str(tasks), "--by", "method")
    assert result.code == 3
    assert "were asked the same and have the same seed" in result.error


def test_missing_baseline_is_said(tasks: Path) -> None:
    workspace, labels = make_workspace(tasks / "third", "third"), draw_labels(N, 0)
    make_run(workspace, "a", labels, labels, asked=P2)
    result = run("evaluate", "accuracy", str(tasks), "--by", "method")
    assert "no run of the baseline for third" in result.err
    alone = run("evaluate", "accuracy", str(workspace), "--by", "method")
    assert "no run of labels only: no gains" in alone.err


def test_table_is_whole_at_eighty_columns(tasks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = draw_labels(N, 5)
    for task in ("a-task-of-a-longer-name", "b-task-of-a-longer-name"):
        workspace = make_workspace(tasks / task, task)
        for seed in (0, 1):
            for name, (asked, accuracy) in METHODS.items():
                predicted = draw_predictions(labels, accuracy, seed)
                make_run(workspace, f"{name}{seed}", labels, predicted, seed=seed, asked=asked)
    monkeypatch.setenv("COLUMNS", "80")
    text = terminal("evaluate", "accuracy", str(tasks), "--by", "method")
    grids = text.split("mean ± standard deviation")[0]
    assert max(map(len, grids.splitlines())) <= 80
    assert text.count("cross-task equal") == 4, "two tables of two blocks each"
    assert "…" not in text


def test_transfers_from_two_teachers_are_two_methods(tmp_path: Path) -> None:
    place, labels = make_workspace(tmp_path / "pets", "pets"), draw_labels(N, 0)
    for number, teacher in enumerate(("big", "small")):
        predicted = draw_predictions(labels, 0.5, number)
        make_run(
            place,
            teacher,
            labels,
            predicted,
            objective="kl",
            asked={"teachers": [teacher]},
            options={"teachers": "one"},
        )
    names = [row["name"] for row in tabulate(place, "--by", "method").data["rows"]]
    assert sorted(names) == ["kl big", "kl small"]
