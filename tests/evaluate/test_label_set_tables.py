"""Tables of runs under several label sets: rows, baselines and scores of one set never mix with those of another."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.evaluate.made_runs import draw_labels, draw_predictions, make_run, make_workspace
from tests.workspaces import make, run
from zoo_cli.evaluation.methods import name_methods, shared_settings

N = 90
P2 = {"weighting": "p=2", "metric": "parc", "on": "features", "min_weight": 1e-4}
ASKED: dict[str, dict[str, Any]] = {"labels-only": {}, "p2": P2}


def make_runs(workspace: Path, truth: np.ndarray, label_set: str | None, names: tuple[str, ...], first: int) -> None:
    """Two seeds of each method under a label set; `inputs` say which images were labelled."""
    for number, name in enumerate(names):
        for seed in (0, 1):
            place = make_run(
                workspace,
                f"x{first + 2 * number + seed}",
                truth,
                draw_predictions(truth, 0.5 + 0.1 * number, first + 2 * number + seed),
                seed=seed,
                asked={**ASKED[name], **({} if label_set is None else {"labels": label_set})},
                options={"lam": 1.0 if name == "labels-only" else 0.8},
                inputs={"labelled images": str(label_set), "test images": "y"},
            )
            assert json.loads((place / "run.json").read_text())["asked"]["epochs"] == 30


def make_label_set(workspace: Path, name: str, labelled: str) -> None:
    """The manifest of a label set, of which the tables read how many labels it was asked to have."""
    header = {"schema": "zoo.manifest/1", "inputs": {"labelled": labelled}, "made_by": "zoo"}
    table = pa.table({"id": ["a"]}).replace_schema_metadata({"zoo": json.dumps(header)})
    (workspace / "labels" / name).mkdir(parents=True)
    pq.write_table(table, workspace / "labels" / name / "manifest.parquet")


def accuracy(workspace: Path, *names: str) -> float:
    result = run("evaluate", "accuracy", *(str(workspace / "runs" / name) for name in names), "--json")
    return float(np.mean([row["accuracy"] for row in result.data]))


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Labels only and one method, under the main set and under `few`."""
    place, truth = make_workspace(tmp_path / "pets", "pets"), draw_labels(N, 0)
    make_runs(place, truth, None, ("labels-only", "p2"), 0)
    make_runs(place, truth, "few", ("labels-only", "p2"), 10)
    return place


def test_each_set_has_rows_and_a_baseline_of_its_own(workspace: Path) -> None:
    result = run("evaluate", "accuracy", str(workspace), "--by", "method", "--json")
    cells = {cell["name"]: cell for cell in result.data["cells"]}
    base, few = accuracy(workspace, "x0", "x1"), accuracy(workspace, "x10", "x11")
    assert cells.keys() == {
        "labels-only", "labels-only labels=few", "cross-task p=2", "cross-task p=2 labels=few"
    }  # fmt: skip
    assert {cells["labels-only"]["gain"], cells["labels-only labels=few"]["gain"]} == {None}
    assert cells["cross-task p=2"]["gain"] == pytest.approx(accuracy(workspace, "x2", "x3") - base)
    assert cells["cross-task p=2 labels=few"]["gain"] == pytest.approx(accuracy(workspace, "x12", "x13") - few)
    meta = json.loads(result.out)["meta"]
    assert set(meta["baseline"].split(" and ")) == {"labels-only", "labels-only labels=few"}
    assert "labels" not in meta["shared"]
    assert "gains of a label set are over the baseline on its own labels" in run(
        "evaluate", "accuracy", str(workspace), "--by", "method", "--format", "md"
    ).err.replace("\n", " ")


def test_a_named_baseline_is_that_method_in_each_set(workspace: Path) -> None:
    for name in ("cross-task p=2", "cross-task p=2 labels=few", "x2", "x13"):
        data = run("evaluate", "accuracy", str(workspace), "--by", "method", "--baseline", name, "--json").data
        cells = {cell["name"]: cell["gain"] for cell in data["cells"]}
        assert cells["cross-task p=2"] is None
        assert cells["cross-task p=2 labels=few"] is None
        few = accuracy(workspace, "x10", "x11") - accuracy(workspace, "x12", "x13")
        assert cells["labels-only labels=few"] == pytest.approx(few)


def test_a_set_without_a_baseline_has_no_gains(tmp_path: Path) -> None:
    place, truth = make_workspace(tmp_path / "pets", "pets"), draw_labels(N, 0)
    make_runs(place, truth, None, ("labels-only", "p2"), 0)
    make_runs(place, truth, "few", ("p2",), 10)
    result = run("evaluate", "accuracy", str(place), "--by", "method", "--json")
    cells = {cell["name"]: cell["gain"] for cell in result.data["cells"]}
    assert cells["cross-task p=2"] is not None
    assert cells["cross-task p=2 labels=few"] is None
    assert "no run of the baseline for pets (few): no gains there" in result.err


def test_one_label_set_alone_is_in_the_caption(tmp_path: Path) -> None:
    place, truth = make_workspace(tmp_path / "pets", "pets"), draw_labels(N, 0)
    make_runs(place, truth, "few", ("labels-only", "p2"), 0)
    result = run("evaluate", "accuracy", str(place), "--by", "method", "--json")
    assert result.data["rows"][0]["name"] == "labels-only"
    assert json.loads(result.out)["meta"]["shared"]["labels"] == "few"


def test_names_tell_the_set_where_there_are_several() -> None:
    keys = [("heads", {"head": "ridge"}), ("cross-task", {"weighting": "p=2", "labels": "few"})]
    assert name_methods(keys) == ["heads", "cross-task p=2 labels=few"]
    assert shared_settings(keys) == {"head": "ridge"}
    assert shared_settings([keys[1]]) == {"labels": "few"}


def test_ranking_is_judged_within_a_label_set(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="score")
    assert run("split", "--labels", "few", "--labelled", "3/class", workspace=place).code == 0
    assert run("score", "--metric", "parc", "--labels", "few", workspace=place).code == 0
    truth = draw_labels(N, 0)
    for number, source in enumerate(("alpha", "beta", "gamma")):
        for label_set in (None, "few"):
            share = 0.3 + 0.2 * (number if label_set is None else 2 - number)
            make_run(
                place,
                f"{source}-{label_set}",
                truth,
                draw_predictions(truth, share, number),
                asked={"sources": [source], **({} if label_set is None else {"labels": label_set})},
                weights=[{"source": source, "weight": 1.0}],
                inputs={"labelled images": str(label_set), "test images": "y"},
            )
    main = run("evaluate", "ranking", "--json", workspace=place)
    few = run("evaluate", "ranking", "--labels", "few", "--json", workspace=place)
    for result in (main, few):
        assert result.code == 0, result.err
        assert "3 runs of other label sets are left out" in result.err
    own = run("evaluate", "ranking", str(place / "labels" / "few" / "scores"), str(place), "--labels", "few", "--json")
    assert own.data == few.data
    assert main.data != few.data
    error = run("evaluate", "ranking", str(tmp_path), "--labels", "fw", "--json", workspace=place).error
    assert re.search('no label set "fw"; did you mean few', error)


def test_draws_of_as_many_labels_are_one_method(tmp_path: Path) -> None:
    place, truth = make_workspace(tmp_path / "pets", "pets"), draw_labels(N, 0)
    for first, (name, labelled) in enumerate((("a", "5/class"), ("b", "5/class"), ("many", "20/class"))):
        make_label_set(place, name, labelled)
        make_runs(place, truth, name, ("labels-only", "p2"), 10 * first)
    result = run("evaluate", "accuracy", str(place), "--by", "method", "--across", "labels", "--json")
    cells = {cell["name"]: cell for cell in result.data["cells"]}
    assert cells.keys() == {
        f"{name} labels={labelled}"
        for name in ("labels-only", "cross-task p=2")
        for labelled in ("5/class", "20/class")
    }  # fmt: skip
    few = cells["cross-task p=2 labels=5/class"]
    assert (few["runs"], few["seeds"]) == (4, 4)
    assert few["accuracy"] == pytest.approx(accuracy(place, "x2", "x3", "x12", "x13"))
    base = accuracy(place, "x0", "x1", "x10", "x11")
    assert few["gain"] == pytest.approx(few["accuracy"] - base)


def test_a_setting_that_was_chosen_on_each_task_splits_no_method(tmp_path: Path) -> None:
    for position, (task, lr) in enumerate((("pets", 0.1), ("cars", 0.03))):
        place, truth = make_workspace(tmp_path / task, task), draw_labels(N, position)
        make_run(place, "a", truth, truth, asked={}, options={"lr": 0.01})
        make_run(place, "b", truth, truth, asked=P2, options={"lr": lr})
    apart = run("evaluate", "accuracy", str(tmp_path), "--by", "method", "--json")
    assert len(apart.data["rows"]) == 3
    merged = run("evaluate", "accuracy", str(tmp_path), "--by", "method", "--across", "lr", "--json")
    assert [(row["name"], row["targets"]) for row in merged.data["rows"]] == [("labels-only", 2), ("cross-task p=2", 2)]


def test_runs_that_differ_in_a_merged_setting_alone_are_refused(tmp_path: Path) -> None:
    place, truth = make_workspace(tmp_path / "pets", "pets"), draw_labels(N, 0)
    for lr in (0.1, 0.03):
        make_run(place, f"lr{lr}", truth, truth, asked=P2, options={"lr": lr})
    result = run("evaluate", "accuracy", str(place), "--by", "method", "--across", "lr")
    assert result.code == 3
    assert "--across" in result.err


def test_an_unknown_setting_to_average_over_names_the_nearest(workspace: Path) -> None:
    result = run("evaluate", "accuracy", str(workspace), "--by", "method", "--across", "lrr")
    assert result.code == 2
    assert "did you mean lr?" in result.err.replace("\n", " ")
    assert run("evaluate", "accuracy", str(workspace), "--across", "lr").code == 2
