"""zoo evaluate ranking: tables of any tool, the PARC benchmark's, scores and runs of workspaces."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.workspaces import edit, make, run
from zoo_cli.evaluation import ranking_quality

SCORES = """source,target,parc,leep
a,pets,0.1,-2
b,pets,0.3,-3
c,pets,0.2,
a,birds,0.5,-1
b,birds,0.4,-2
c,birds,0.3,-3
"""
ACCURACIES = """Source,Target,Accuracy
b,pets,0.8
a,pets,0.5
c,pets,0.9
c,birds,0.2
b,birds,0.3
a,birds,0.4
"""
NAN = math.nan


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, text: str) -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def tables(scores: str = SCORES, accuracies: str = ACCURACIES) -> tuple[str, str]:
    return write("scores.csv", scores), write("accuracies.csv", accuracies)


def ranking(*arguments: str, workspace: Path | None = None) -> Any:
    result = run("evaluate", "ranking", *arguments, "--json", workspace=workspace)
    assert result.code == 0, result.err
    return result.data


def of_metrics(data: Any, part: str = "targets") -> list[dict[str, Any]]:
    """The rows of metrics, without those of controls."""
    return [row for row in data[part] if not row["control"]]


def assert_holds(row: dict[str, Any], expected: dict[str, Any]) -> None:
    assert {key: row[key] for key in expected} == expected


def row_of(data: Any, metric: str, target: str | None = "mean", on: str | None = None) -> dict[str, Any]:
    """The one row of a metric: for a target, or its mean over targets."""
    rows = data["metrics"] if target == "mean" else [row for row in data["targets"] if row["target"] == target]
    matching: list[dict[str, Any]] = [
        row for row in rows if row["metric"] == metric and on in (None, row["representation"])
    ]
    (row,) = matching
    return row


def quality(values: Sequence[float], accuracies: Sequence[float]) -> dict[str, Any]:
    return asdict(ranking_quality.judge_ranking(np.array(values), np.array(accuracies)))


def write_run(
    folder: Path, right: int, weights: dict[str, float], *, seed: int = 0, finished: bool = True, **keys: Any
) -> Path:
    """A run with 20 test images, `right` of them predicted right, as zoo writes it."""
    folder.mkdir(parents=True)
    record = {
        "objective": "cross-task",
        "student": {"student": {"model": "python:models.py:small"}, "init": ""},
        "options": {"steps": 100, "lr": 0.01, "lam": 0.8, "seed": seed},
        "weights": [{"source": name, "weight": weight} for name, weight in weights.items()],
        "inputs": {"labelled images": "1", "test images": "2", **{f"pseudo-labels of {n}": n for n in weights}},
        **keys,
    }
    (folder / "run.json").write_text(json.dumps(record))
    if finished:
        logits = [[1.0, 0.0] if row < right else [0.0, 1.0] for row in range(20)]
        columns = {"id": [str(row) for row in range(20)], "label": [0] * 20}
        pq.write_table(
            pa.table({**columns, "logits": pa.array(logits, pa.list_(pa.float32()))}), folder / "predictions.parquet"
        )
    return folder


def test_wide_table_has_every_metric_on_every_target() -> None:
    data = ranking(*tables())
    pets = {"parc": quality([0.1, 0.3, 0.2], [0.5, 0.8, 0.9]), "leep": quality([-2, -3, NAN], [0.5, 0.8, 0.9])}
    birds = {"parc": quality([0.5, 0.4, 0.3], [0.4, 0.3, 0.2]), "leep": quality([-1, -2, -3], [0.4, 0.3, 0.2])}
    for metric in ("parc", "leep"):
        keys = {"metric": metric, "representation": None, "probes": 1}
        assert_holds(row_of(data, metric, "pets"), {**keys, "target": "pets", **pets[metric]})
        assert_holds(row_of(data, metric, "birds"), {**keys, "target": "birds", **birds[metric]})
        rows = [ranking_quality.RankingQuality(**target[metric]) for target in (birds, pets)]
        mean = asdict(ranking_quality.mean_over_targets(rows))
        assert_holds(row_of(data, metric), {"metric": metric, "representation": None, **mean})
    assert [row["metric"] for row in of_metrics(data, "metrics")] == ["parc", "leep"]
    assert row_of(data, "leep", "pets")["undefined"] == 1


def test_long_table_equals_wide_table() -> None:
    wide = ranking(*tables())
    rows = [line.split(",") for line in SCORES.splitlines()[1:]]
    long = pa.table(
        {
            "Source": [row[0] for row in rows] * 2,
            "Target": [row[1] for row in rows] * 2,
            "Metric": ["parc"] * 6 + ["leep"] * 6,
            "Value": [float(row[2]) for row in rows] + [float(row[3] or "nan") for row in rows],
        }
    )
    pq.write_table(long, "long.parquet")
    assert ranking("long.parquet", "accuracies.csv") == wide


def test_files_of_the_parc_benchmark_load_unchanged() -> None:
    # Its results have several probe sets, "Run"; its oracles write -1 for an unknown accuracy.
    draw = np.random.default_rng(0)
    pairs = [(architecture, data) for architecture in ("resnet50", "alexnet") for data in ("imagenet", "cub200", "voc")]
    results, oracle, values = ["Run,Architecture,Source Dataset,Target Dataset,PARC,1-NN CV"], [], {}
    oracle.append("Architecture,Source Dataset,Target Dataset,Oracle")
    accuracies = {}
    for target in ("cifar10", "pets"):
        for place, (architecture, data) in enumerate(pairs):
            accuracy = -1.0 if place == 3 and target == "pets" else round(float(draw.uniform(50, 99)), 3)
            accuracies[target, place] = accuracy
            oracle.append(f"{architecture},{data},{target},{accuracy}")
            for number in range(3):
                values[target, number, place] = float(draw.standard_normal())
                results.append(f"{number},{architecture},{data},{target},{values[target, number, place]},7.5")
    paths = write("fixed_budget_500.csv", "\n".join(results)), write("all.csv", "\n".join(oracle))
    result = run("evaluate", "ranking", *paths, "--json")
    assert result.code == 0, result.err
    assert "all.csv: 1 missing or negative accuracies are left out" in result.err
    assert "1 sources have a score and no accuracy, and are left out: alexnet/imagenet (pets)" in result.err
    assert {row["metric"] for row in of_metrics(result.data, "metrics")} == {"PARC", "1-NN CV"}
    for target, count in (("cifar10", 6), ("pets", 5)):
        rows = [place for place in range(6) if accuracies[target, place] >= 0]
        reached = [accuracies[target, place] for place in rows]
        probes = [quality([values[target, number, place] for place in rows], reached) for number in range(3)]
        row = row_of(result.data, "PARC", target)
        assert (row["sources"], row["probes"]) == (count, 3)
        for name in ranking_quality.RANGES:
            assert row[name] == pytest.approx(np.mean([probe[name] for probe in probes]))
    constant = row_of(result.data, "1-NN CV", "cifar10")
    assert (constant["pearson"], constant["reason"], constant["trials"]) == (None, "constant_scores", 3.5)


def test_scores_of_a_workspace_against_its_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = make(tmp_path / "task", upto="score")
    for name, rights in {"alpha": (10, 12), "beta": (18, 18), "gamma": (3, 4)}.items():
        for seed, right in enumerate(rights):
            write_run(workspace / "runs" / f"cross-task-from-{name}-s{seed}", right, {name: 1.0}, seed=seed)
    write_run(workspace / "runs" / "cross-task-parc-p2-s0", 20, {"alpha": 0.5, "beta": 0.5})
    write_run(workspace / "runs" / "labels-only-s0", 1, {})
    write_run(workspace / "runs" / "cross-task-from-beta-s2", 1, {"beta": 1.0}, seed=2, finished=False)
    result = run("evaluate", "ranking", "--json", workspace=workspace)
    assert result.code == 0, result.err
    assert "1 runs are not finished and left out" in result.err
    assert "2 runs that learned from no source, or from several, are left out" in result.err
    scored = pq.read_table(workspace / "scores" / "parc").to_pylist()
    values = [next(row["value"] for row in scored if row["source"] == name) for name in ("alpha", "beta", "gamma")]
    expected = quality(values, [0.55, 0.9, 0.175])
    row = row_of(result.data, "parc", "patterns")
    assert {name: row[name] for name in expected} == expected
    assert (row["representation"], row["probes"]) == ("features", 1)
    assert (row_of(result.data, "parc")["spearman_low"], row_of(result.data, "parc")["targets"]) == (None, 1)
    for paths in (("scores", "runs"), ("scores/parc", "runs/cross-task-from-*")):
        again = ranking(str(workspace / paths[0]), str(workspace / paths[1]))
        assert [of_metrics(again, part) for part in again] == [of_metrics(result.data, part) for part in again]
        with monkeypatch.context() as inside:
            inside.chdir(workspace)
            assert of_metrics(ranking(*paths)) == of_metrics(result.data)


def test_typed_paths_are_relative_to_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = make(tmp_path / "task", upto="score")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name, right in {"alpha": 10, "beta": 18, "gamma": 3}.items():
        write_run(workspace / "runs" / f"from-{name}", right, {name: 1.0})
    elsewhere = run("evaluate", "ranking", ".", workspace=workspace)
    assert (elsewhere.code, elsewhere.error) == (2, "no scores in .; zoo score makes them")
    assert "no file or folder scores" in run("evaluate", "ranking", "scores", workspace=workspace).error
    assert "no runs in runs;" in run("evaluate", "ranking", "../task", "runs", workspace=workspace).error
    # Runs have names, and a pattern of them stands for several.
    for accuracies in ("from-*", "runs/from-*"):
        assert ranking("../task", accuracies, workspace=workspace) == ranking(workspace=workspace)
    single = run("evaluate", "ranking", "../task", "from-beta", workspace=workspace)
    assert "SCORES and ACCURACIES share fewer than two sources" in single.error
    write_run(tmp_path / "here" / "runs" / "from-here", 1, {"alpha": 1.0})
    typed = run("evaluate", "ranking", "../task", "runs/from-*", workspace=workspace)
    assert "without a score: none" in typed.error


def test_output_of_zoo_score_is_a_table_of_scores(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="score")
    accuracies = write("accuracies.csv", "source,accuracy\nalpha,0.5\nbeta,0.9\ngamma,0.1\n")
    printed = run("score", "--metric", "parc", "--format", "csv", workspace=workspace)
    table = write("printed.csv", printed.out)
    (row,) = of_metrics(ranking(table, accuracies))
    (same,) = of_metrics(ranking(str(workspace / "scores"), accuracies))
    assert row["target"] is None
    assert same == {**row, "target": "patterns"}


def test_source_that_has_seen_the_target_is_left_out(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="score")
    edit(workspace, 'trained_on = ["shapes"]', 'trained_on = ["patterns"]')
    accuracies = write("accuracies.csv", "source,accuracy\nalpha,0.5\nbeta,0.9\ngamma,0.1\n")
    result = run("evaluate", "ranking", str(workspace), accuracies, "--json")
    assert result.code == 0, result.err
    assert "patterns: left out alpha (trained on patterns)" in result.err
    assert "have an accuracy and no score" not in result.err
    assert row_of(result.data, "parc", "patterns")["sources"] == 2


def test_workspaces_in_one_folder_are_targets(tmp_path: Path) -> None:
    rows = ["source,target,accuracy"]
    for number, name in enumerate(("first", "second")):
        workspace = make(tmp_path / "tasks" / name, upto="score")
        edit(workspace, 'name = "patterns"', f'name = "{name}"')
        for source, right in zip(("alpha", "beta", "gamma"), (10 + number, 18, 5), strict=True):
            write_run(
                workspace / "runs" / f"cross-task-from-{source}-s0", right, {source: 1.0}, options={"lam": number}
            )
            rows.append(f"{source},{name},{right / 20}")
    data = ranking("tasks", "tasks")
    assert {row["target"] for row in data["targets"]} == {"first", "second"}
    assert row_of(data, "parc")["targets"] == 2
    assert row_of(data, "parc")["regret_low"] is not None
    assert ranking("tasks", write("accuracies.csv", "\n".join(rows))) == data
    edit(tmp_path / "tasks" / "second", 'name = "second"', 'name = "first"')
    result = run("evaluate", "ranking", "tasks", "accuracies.csv")
    assert result.code == 3
    assert "by parc features for first occurs twice" in result.error


def test_runs_with_different_options_are_refused(tmp_path: Path) -> None:
    scores = write("scores.csv", "source,parc\na,1\nb,2\n")
    runs = tmp_path / "runs"
    write_run(runs / "one-a", 5, {"a": 1.0})
    write_run(runs / "one-b", 9, {"b": 1.0}, options={"steps": 100, "lr": 0.1, "lam": 0.8, "seed": 3})
    write_run(runs / "two-b", 9, {"b": 1.0}, options={"steps": 200, "lr": 0.01, "lam": 0.5, "seed": 0})
    result = run("evaluate", "ranking", scores, "runs")
    assert result.code == 2
    assert "one-a and runs/two-b differ in lam, steps: their accuracies cannot be compared" in result.error
    assert 'by a pattern, as in "runs/finetune-*"' in result.error
    assert ranking(scores, "runs/one-*")["targets"][0]["spearman"] == pytest.approx(1)


def test_fine_tuned_source_may_differ_in_its_model(tmp_path: Path) -> None:
    scores = write("scores.csv", "source,parc\na,1\nb,2\n")

    def finetuned(name: str, source: str, right: int, lr: float, freeze: str = "") -> None:
        student = {"student": {"model": f"python:{source}.py:small"}, "freeze": freeze}
        keys = {"objective": "supervised", "source": source, "student": student, "task": "pets"}
        write_run(tmp_path / "runs" / name, right, {}, options={"steps": 100, "lr": lr, "seed": 0}, **keys)

    finetuned("finetune-a-s0", "a", 15, 0.1)
    finetuned("finetune-b-s0", "b", 10, 0.01)
    (row,) = of_metrics(ranking(scores, "runs"))
    assert (row["target"], row["spearman"], row["regret"]) == ("pets", pytest.approx(-1), 0.25)
    finetuned("finetune-head-b-s0", "b", 5, 0.01, freeze="body")
    assert "differ in student" in run("evaluate", "ranking", scores, "runs").error


def test_seeds_in_a_table_are_averaged() -> None:
    scores = write("scores.csv", "source,parc\na,1\nb,2\n")
    accuracies = write("accuracies.csv", "source,seed,accuracy\na,0,0.5\na,1,0.7\nb,0,0.4\nb,1,0.2\n")
    assert ranking(scores, accuracies)["targets"][0]["regret"] == pytest.approx(0.3)


def test_one_side_may_leave_the_target_unnamed() -> None:
    scores, accuracies = tables("source,parc\na,1\nb,2\n", "source,target,accuracy\na,pets,0.1\nb,pets,0.2\n")
    assert ranking(scores, accuracies)["targets"][0]["target"] == "pets"
    scores, accuracies = tables("source,target,parc\na,pets,1\nb,pets,2\n", "source,accuracy\na,0.1\nb,0.2\n")
    assert ranking(scores, accuracies)["targets"][0]["target"] == "pets"


def test_table_has_means_and_tsv_every_interval() -> None:
    paths = tables()
    shown = run("evaluate", "ranking", *paths, "--format", "table").out.splitlines()
    assert shown[:2] == [
        "correlation of scores with accuracies",
        "metric  spearman            90 %  beats prior  pearson  kendall  weighted",
    ]
    assert [line.split()[0] for line in shown[2:6]] == ["parc", "leep", "random", "prior"]
    assert "means over 2 targets of 3 sources, 90 % intervals over targets" in shown
    header, first, *_ = run("evaluate", "ranking", *paths).out.splitlines()
    cells = dict(zip(header.split("\t"), first.split("\t"), strict=True))
    row = ranking(*paths)["metrics"][0]
    for name in ranking_quality.RANGES:
        assert [float(cells[f"{name}{end}"]) for end in ("", "_low", "_high")] == [
            row[f"{name}{end}"] for end in ("", "_low", "_high")
        ]


def test_one_target_has_no_interval() -> None:
    paths = tables("source,parc\na,1\nb,2\n", "source,accuracy\na,0.1\nb,0.2\n")
    shown = run("evaluate", "ranking", *paths, "--format", "table").out
    assert "one target, 2 sources: no interval over targets" in shown
    assert "90 %" not in shown.splitlines()[1]
    assert "no prior: it needs accuracies on two or more targets" in shown
    assert "some measures" not in shown


def test_means_of_different_targets_are_noted() -> None:
    scores = "source,target,parc,leep\na,pets,1,\nb,pets,2,\na,cars,1,1\nb,cars,2,2\n"
    accuracies = "source,target,accuracy\na,pets,0.1\nb,pets,0.2\na,cars,0.1\nb,cars,0.2\n"
    result = run("evaluate", "ranking", *tables(scores, accuracies), "--format", "table")
    assert "some measures have no value: no scores" in result.out
    assert "are means over fewer of them" in result.out
    row = row_of(ranking(*tables(scores, accuracies)), "leep")
    assert (row["targets"], row["reason"], row["regret"]) == (1, "no_scores", 0)


def test_answer_is_written_to_out() -> None:
    paths = tables()
    data = ranking(*paths, "--out", "answer.json")
    assert json.loads(Path("answer.json").read_text())["data"] == data
    assert run("evaluate", "ranking", *paths, "--out", "answer.parquet").code == 0
    assert pq.read_table("answer.parquet").to_pylist() == data["targets"]
    assert "its name must end in .parquet or .json" in run("evaluate", "ranking", *paths, "--out", "answer.txt").error


def test_meta_has_the_level_and_the_random_order() -> None:
    answer = json.loads(run("evaluate", "ranking", *tables(), "--json").out)
    assert answer["schema"] == "zoo.evaluate-ranking/1"
    assert answer["meta"]["level"] == ranking_quality.LEVEL
    assert answer["meta"]["random_order"]["trials"] == 2
