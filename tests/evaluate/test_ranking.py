"""zoo evaluate ranking: tables of anybody's, the PARC benchmark's, scores and runs of workspaces; what is refused."""

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


def written(name: str, text: str) -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def tables(scores: str = SCORES, accuracies: str = ACCURACIES) -> tuple[str, str]:
    return written("scores.csv", scores), written("accuracies.csv", accuracies)


def ranking(*arguments: str, workspace: Path | None = None) -> Any:
    result = run("evaluate", "ranking", *arguments, "--json", workspace=workspace)
    assert result.code == 0, result.err
    return result.data


def of(data: Any, metric: str, target: str | None = "mean", on: str | None = None) -> dict[str, Any]:
    """The one row of a metric: for a target, or its mean."""
    rows = data["metrics"] if target == "mean" else [row for row in data["targets"] if row["target"] == target]
    (row,) = (row for row in rows if row["metric"] == metric and on in (None, row["representation"]))
    found: dict[str, Any] = row
    return found


def judged(values: Sequence[float], accuracies: Sequence[float]) -> dict[str, Any]:
    return asdict(ranking_quality.judge_ranking(np.array(values), np.array(accuracies)))


def trained(
    folder: Path, right: int, weights: dict[str, float], *, seed: int = 0, done: bool = True, **said: Any
) -> Path:
    """A run of a task of 20 test images, `right` of them answered right, as zoo leaves it."""
    folder.mkdir(parents=True)
    about = {
        "objective": "cross-task",
        "student": {"student": {"model": "python:models.py:small"}, "init": ""},
        "options": {"steps": 100, "lr": 0.01, "lam": 0.8, "seed": seed},
        "weights": [{"source": name, "weight": weight} for name, weight in weights.items()],
        "inputs": {"labelled images": "1", "test images": "2", **{f"pseudo-labels of {n}": n for n in weights}},
        **said,
    }
    (folder / "run.json").write_text(json.dumps(about))
    if done:
        logits = [[1.0, 0.0] if row < right else [0.0, 1.0] for row in range(20)]
        columns = {"id": [str(row) for row in range(20)], "label": [0] * 20}
        pq.write_table(
            pa.table({**columns, "logits": pa.array(logits, pa.list_(pa.float32()))}), folder / "predictions.parquet"
        )
    return folder


def test_every_metric_of_a_wide_table_is_judged_on_every_target() -> None:
    data = ranking(*tables())
    pets = {"parc": judged([0.1, 0.3, 0.2], [0.5, 0.8, 0.9]), "leep": judged([-2, -3, NAN], [0.5, 0.8, 0.9])}
    birds = {"parc": judged([0.5, 0.4, 0.3], [0.4, 0.3, 0.2]), "leep": judged([-1, -2, -3], [0.4, 0.3, 0.2])}
    for metric in ("parc", "leep"):
        keys = {"metric": metric, "representation": None, "probes": 1}
        assert of(data, metric, "pets") == {**keys, "target": "pets", **pets[metric]}
        assert of(data, metric, "birds") == {**keys, "target": "birds", **birds[metric]}
        targets = [ranking_quality.RankingQuality(**target[metric]) for target in (birds, pets)]
        mean = asdict(ranking_quality.mean_over_targets(targets))
        assert of(data, metric) == {"metric": metric, "representation": None, **mean}
    assert [row["metric"] for row in data["metrics"]] == ["parc", "leep"]
    assert of(data, "leep", "pets")["undefined"] == 1


def test_a_long_table_and_a_wide_one_say_the_same() -> None:
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


def test_the_files_of_the_parc_benchmark_load_as_they_are() -> None:
    # Its results have several probe sets, "Run"; its oracles write -1 where nothing is known.
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
    paths = written("fixed_budget_500.csv", "\n".join(results)), written("all.csv", "\n".join(oracle))
    result = run("evaluate", "ranking", *paths, "--json")
    assert result.code == 0, result.err
    assert "all.csv: 1 accuracies that are missing or negative are left out" in result.err
    assert "1 sources have a score and no accuracy, and are left out: alexnet/imagenet (pets)" in result.err
    assert {row["metric"] for row in result.data["metrics"]} == {"PARC", "1-NN CV"}
    for target, count in (("cifar10", 6), ("pets", 5)):
        known = [place for place in range(6) if accuracies[target, place] >= 0]
        reached = [accuracies[target, place] for place in known]
        each = [judged([values[target, number, place] for place in known], reached) for number in range(3)]
        row = of(result.data, "PARC", target)
        assert (row["sources"], row["probes"]) == (count, 3)
        for name in ranking_quality.RANGES:
            assert row[name] == pytest.approx(np.mean([one[name] for one in each]))
    constant = of(result.data, "1-NN CV", "cifar10")
    assert (constant["pearson"], constant["reason"], constant["trials"]) == (None, "constant_scores", 3.5)


def test_the_scores_of_a_workspace_are_judged_by_its_runs(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="score")
    for name, rights in {"alpha": (10, 12), "beta": (18, 18), "gamma": (3, 4)}.items():
        for seed, right in enumerate(rights):
            trained(workspace / "runs" / f"cross-task-from-{name}-s{seed}", right, {name: 1.0}, seed=seed)
    trained(workspace / "runs" / "cross-task-parc-p2-s0", 20, {"alpha": 0.5, "beta": 0.5})
    trained(workspace / "runs" / "labels-only-s0", 1, {})
    trained(workspace / "runs" / "cross-task-from-beta-s2", 1, {"beta": 1.0}, seed=2, done=False)
    result = run("evaluate", "ranking", "--json", workspace=workspace)
    assert result.code == 0, result.err
    assert "1 runs are not finished and left out" in result.err
    assert "2 runs that learned from no source, or from several, are left out" in result.err
    scored = pq.read_table(workspace / "scores" / "parc").to_pylist()
    values = [next(row["value"] for row in scored if row["source"] == name) for name in ("alpha", "beta", "gamma")]
    expected = judged(values, [0.55, 0.9, 0.175])
    row = of(result.data, "parc", "patterns")
    assert {name: row[name] for name in expected} == expected
    assert (row["representation"], row["probes"]) == ("features", 1)
    assert (of(result.data, "parc")["spearman_low"], of(result.data, "parc")["targets"]) == (None, 1)
    for paths in (("scores", "runs"), ("scores/parc", "runs/cross-task-from-*")):
        assert ranking(*paths, workspace=workspace) == result.data
        assert ranking(str(workspace / paths[0]), str(workspace / paths[1])) == result.data


def test_what_zoo_score_prints_is_a_table_of_scores(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="score")
    accuracies = written("accuracies.csv", "source,accuracy\nalpha,0.5\nbeta,0.9\ngamma,0.1\n")
    printed = run("score", "--metric", "parc", "--format", "csv", workspace=workspace)
    table = written("printed.csv", printed.out)
    (row,) = ranking(table, accuracies)["targets"]
    (same,) = ranking("scores", str(tmp_path / accuracies), workspace=workspace)["targets"]
    assert row["target"] is None
    assert same == {**row, "target": "patterns"}


def test_a_source_that_has_seen_the_target_is_left_out_of_a_workspace(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="score")
    edit(workspace, 'trained_on = ["shapes"]', 'trained_on = ["patterns"]')
    accuracies = written("accuracies.csv", "source,accuracy\nalpha,0.5\nbeta,0.9\ngamma,0.1\n")
    result = run("evaluate", "ranking", str(workspace), accuracies, "--json")
    assert result.code == 0, result.err
    assert "patterns: left out alpha (trained on patterns)" in result.err
    assert "have an accuracy and no score" not in result.err
    assert of(result.data, "parc", "patterns")["sources"] == 2


def test_workspaces_in_one_folder_are_targets(tmp_path: Path) -> None:
    rows = ["source,target,accuracy"]
    for number, name in enumerate(("first", "second")):
        workspace = make(tmp_path / "tasks" / name, upto="score")
        edit(workspace, 'name = "patterns"', f'name = "{name}"')
        for source, right in zip(("alpha", "beta", "gamma"), (10 + number, 18, 5), strict=True):
            trained(workspace / "runs" / f"cross-task-from-{source}-s0", right, {source: 1.0}, options={"lam": number})
            rows.append(f"{source},{name},{right / 20}")
    data = ranking("tasks", "tasks")
    assert {row["target"] for row in data["targets"]} == {"first", "second"}
    assert of(data, "parc")["targets"] == 2
    assert of(data, "parc")["regret_low"] is not None
    assert ranking("tasks", written("accuracies.csv", "\n".join(rows))) == data
    edit(tmp_path / "tasks" / "second", 'name = "second"', 'name = "first"')
    result = run("evaluate", "ranking", "tasks", "accuracies.csv")
    assert result.code == 3
    assert "by parc features for first stands twice" in result.error


def test_runs_that_were_not_made_alike_do_not_compare(tmp_path: Path) -> None:
    scores = written("scores.csv", "source,parc\na,1\nb,2\n")
    runs = tmp_path / "runs"
    trained(runs / "one-a", 5, {"a": 1.0})
    trained(runs / "one-b", 9, {"b": 1.0}, options={"steps": 100, "lr": 0.1, "lam": 0.8, "seed": 3})
    trained(runs / "two-b", 9, {"b": 1.0}, options={"steps": 200, "lr": 0.01, "lam": 0.5, "seed": 0})
    result = run("evaluate", "ranking", scores, "runs")
    assert result.code == 2
    assert "one-a and runs/two-b differ in lam, steps: their accuracies do not compare" in result.error
    assert 'by a pattern, as in "runs/finetune-*"' in result.error
    assert ranking(scores, "runs/one-*")["targets"][0]["spearman"] == pytest.approx(1)


def test_a_fine_tuned_source_is_its_students_start(tmp_path: Path) -> None:
    scores = written("scores.csv", "source,parc\na,1\nb,2\n")

    def tuned(name: str, source: str, right: int, lr: float, freeze: str = "") -> None:
        student = {"student": {"model": f"python:{source}.py:small"}, "freeze": freeze}
        said = {"objective": "supervised", "source": source, "student": student, "task": "pets"}
        trained(tmp_path / "runs" / name, right, {}, options={"steps": 100, "lr": lr, "seed": 0}, **said)

    tuned("finetune-a-s0", "a", 15, 0.1)
    tuned("finetune-b-s0", "b", 10, 0.01)
    (row,) = ranking(scores, "runs")["targets"]
    assert (row["target"], row["spearman"], row["regret"]) == ("pets", pytest.approx(-1), 0.25)
    tuned("finetune-head-b-s0", "b", 5, 0.01, freeze="body")
    assert "differ in student" in run("evaluate", "ranking", scores, "runs").error


def test_seeds_in_a_table_count_by_their_mean() -> None:
    scores = written("scores.csv", "source,parc\na,1\nb,2\n")
    accuracies = written("accuracies.csv", "source,seed,accuracy\na,0,0.5\na,1,0.7\nb,0,0.4\nb,1,0.2\n")
    assert ranking(scores, accuracies)["targets"][0]["regret"] == pytest.approx(0.3)


def test_columns_that_are_no_scores_are_not_judged() -> None:
    both = written(
        "both.csv",
        "source,target,accuracy,,parc,provider\n"
        "a,pets,0.5,0,1.0,timm\n"
        "b,pets,0.7,1,2.0,timm\n"
        "@student,pets,0.1,2,9.0,timm\n",
    )
    result = run("evaluate", "ranking", both, both, "--json")
    assert result.code == 0, result.err
    assert [row["metric"] for row in result.data["metrics"]] == ["parc"]
    assert result.data["targets"][0]["sources"] == 2
    assert "columns that hold other things than numbers are no scores: provider" in result.err


def test_one_side_may_leave_the_only_target_unsaid() -> None:
    scores, accuracies = tables("source,parc\na,1\nb,2\n", "source,target,accuracy\na,pets,0.1\nb,pets,0.2\n")
    assert ranking(scores, accuracies)["targets"][0]["target"] == "pets"
    scores, accuracies = tables("source,target,parc\na,pets,1\nb,pets,2\n", "source,accuracy\na,0.1\nb,0.2\n")
    assert ranking(scores, accuracies)["targets"][0]["target"] == "pets"


def test_what_only_one_side_knows_is_said_and_left_out() -> None:
    scores, accuracies = tables(
        SCORES + "d,pets,0.9,-1\na,cars,1,1\n", ACCURACIES + "e,pets,0.1\na,planes,0.3\nb,planes,0.4\n"
    )
    result = run("evaluate", "ranking", scores, accuracies, "--json")
    assert result.code == 0, result.err
    assert "1 sources have an accuracy and no score, and are left out: e (pets)" in result.err
    assert "1 sources have a score and no accuracy, and are left out: d (pets)" in result.err
    assert "1 targets have scores and no accuracies, and are left out: cars" in result.err
    assert "1 targets have accuracies and no scores, and are left out: planes" in result.err
    assert result.data == ranking(*tables())


@pytest.mark.parametrize(
    ("scores", "accuracies", "code", "told"),
    [
        ("parc\n1\n", None, 3, "scores.csv has no column source"),
        ("source,target\na,pets\n", None, 3, "scores.csv has no scores"),
        ("source,target,parc\na,pets,inf\n", None, 3, "column parc, row 1, is not finite"),
        (SCORES + "b,pets,1,1\n", None, 3, "the score of b by parc for pets stands twice"),
        ("source,Parc,PARC\na,1,2\n", None, 3, "scores.csv has two columns parc"),
        ("source,metric,value\na,,1\n", None, 3, "no metric in row 1"),
        ("source,metric,value\na,parc,high\n", None, 3, '"high" in column value, row 1, is no number'),
        ("source,target,parc\na,pets\n", None, 3, "2 cells where the header has 3"),
        ("", None, 3, "scores.csv has no rows"),
        ("source,parc\na,1\nb,2\n", None, 2, "SCORES name no target, the other side 2; add a column target"),
        ("source,target,parc\na,cars,1\n", None, 2, "SCORES are for cars, ACCURACIES for birds, pets"),
        ("source,target,parc\nx,pets,1\ny,pets,1\n", None, 2, "without an accuracy: x, y; without a score: a, b, c"),
        (None, "source,target,top1\na,pets,1\n", 3, "accuracies.csv has no column accuracy"),
        (None, "source,target,accuracy\na,pets,best\n", 3, '"best" in column accuracy, row 1, is no number'),
        (None, "source,target,accuracy\n,pets,1\n", 3, "no source in row 1"),
        (None, ACCURACIES + "b,pets,0.7\n", 3, "the accuracy of b for pets stands 2 times; a column seed"),
        (None, "source,accuracy\na,1\nb,0\n", 2, "ACCURACIES name no target, the other side 2"),
        (None, '"source,accuracy\n', 3, "no table in UTF-8"),
    ],
)
def test_tables_that_cannot_be_judged_are_refused(
    scores: str | None, accuracies: str | None, code: int, told: str
) -> None:
    result = run("evaluate", "ranking", *tables(scores if scores is not None else SCORES, accuracies or ACCURACIES))
    assert told in result.error
    assert result.code == code


@pytest.mark.parametrize(
    ("paths", "told"),
    [
        (("nothing.csv", "accuracies.csv"), "no file or folder nothing.csv"),
        ((".", "accuracies.csv"), "no scores in .; zoo score makes them"),
        (("notes.txt", "accuracies.csv"), "notes.txt is no table; its name ends in .csv or .parquet"),
        (("scores.csv", "nothing"), "no runs in nothing; zoo distill --each-source makes them"),
        (("scores.csv", "empty"), "no runs in empty"),
        (("scores.csv", "unfinished"), "no finished run in unfinished learned from one source"),
    ],
)
def test_paths_where_nothing_is_are_refused(tmp_path: Path, paths: tuple[str, str], told: str) -> None:
    tables()
    written("notes.txt", "none")
    (tmp_path / "empty").mkdir()
    trained(tmp_path / "unfinished" / "a", 1, {"a": 1.0}, done=False)
    result = run("evaluate", "ranking", *paths)
    assert result.code == 2
    assert told in result.error


@pytest.mark.parametrize("said", ["[]", '{"objective": "cross-task"}', '{"objective": "supervised", "weights": [1]}'])
def test_a_run_that_is_none_of_ours_is_refused(tmp_path: Path, said: str) -> None:
    tables()
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "run.json").write_text(said)
    result = run("evaluate", "ranking", "scores.csv", "runs")
    assert result.code == 3
    assert "run.json does not say what a run of zoo says" in result.error


def test_a_person_sees_one_row_a_metric_and_a_program_every_interval() -> None:
    paths = tables()
    shown = run("evaluate", "ranking", *paths, "--format", "table").out.splitlines()
    assert shown[0].split()[:6] == ["metric", "on", "targets", "spearman", "low", "high"]
    assert [line.split()[0] for line in shown[1:3]] == ["parc", "leep"]
    assert "means over 2 targets of 3 sources, intervals over targets at 90 %" in shown
    assert shown[-1].startswith("a random order: relative accuracy 8")
    header, first, _ = run("evaluate", "ranking", *paths).out.splitlines()
    cells = dict(zip(header.split("\t"), first.split("\t"), strict=True))
    row = ranking(*paths)["metrics"][0]
    for name in ranking_quality.RANGES:
        assert [float(cells[f"{name}{end}"]) for end in ("", "_low", "_high")] == [
            row[f"{name}{end}"] for end in ("", "_low", "_high")
        ]


def test_one_target_is_said_to_have_no_interval() -> None:
    paths = tables("source,parc\na,1\nb,2\n", "source,accuracy\na,0.1\nb,0.2\n")
    shown = run("evaluate", "ranking", *paths, "--format", "table").out
    assert "one target, 2 sources: no interval over targets" in shown
    assert "low" not in shown.splitlines()[0]
    assert "not every measure" not in shown


def test_means_of_different_targets_are_said_to_be_so() -> None:
    scores = "source,target,parc,leep\na,pets,1,\nb,pets,2,\na,cars,1,1\nb,cars,2,2\n"
    accuracies = "source,target,accuracy\na,pets,0.1\nb,pets,0.2\na,cars,0.1\nb,cars,0.2\n"
    result = run("evaluate", "ranking", *tables(scores, accuracies), "--format", "table")
    assert "not every measure has a value: no scores" in result.out
    assert "are not judged on the same ones" in result.out
    row = of(ranking(*tables(scores, accuracies)), "leep")
    assert (row["targets"], row["reason"], row["regret"]) == (1, "no_scores", 0)


def test_the_answer_can_be_kept() -> None:
    paths = tables()
    data = ranking(*paths, "--out", "answer.json")
    assert json.loads(Path("answer.json").read_text())["data"] == data
    assert run("evaluate", "ranking", *paths, "--out", "answer.parquet").code == 0
    assert pq.read_table("answer.parquet").to_pylist() == data["targets"]
    assert "its name ends in .parquet or .json" in run("evaluate", "ranking", *paths, "--out", "answer.txt").error


def test_the_random_order_and_the_level_stand_beside_the_answer() -> None:
    told = json.loads(run("evaluate", "ranking", *tables(), "--json").out)
    assert told["schema"] == "zoo.evaluate-ranking/1"
    assert told["meta"]["level"] == ranking_quality.LEVEL
    assert told["meta"]["random_order"]["trials"] == 2
