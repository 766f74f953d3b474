"""`zoo evaluate cost`: the seconds of every stage, brute force and selection."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from zoo_cli.evaluation.costs import SourceCost, compare_plans
from zoo_cli.store import stage_log

from ..workspaces import make, run
from .made_runs import draw_labels, make_run

LABELS = draw_labels(30, 0)
SECONDS = {"alpha": (3.0, 0.5, 1.0, 40.0), "beta": (2.0, 0.25, 1.5, 60.0), "gamma": (4.0, 0.75, 2.0, 50.0)}
"""Of extraction, score, pseudo-labels and fine-tuning."""


def tune(workspace: Path, source: str, seconds: float | None, *, name: str = "", **log: Any) -> Path:
    """A finished fine-tuning, and its log."""
    name = name or f"finetune-{source}"
    folder = make_run(workspace, name, LABELS, LABELS, objective="finetune", asked={"source": source}, source=source)
    if seconds is not None:
        (workspace / "runs" / f"{name}.log.json").write_text(json.dumps({"seconds": seconds, **log}))
    return folder


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Extracted, scored and labelled by the program, with seconds written by hand, and finished runs."""
    folder = make(tmp_path_factory.mktemp("cost") / "task", upto="pseudo-label")
    for source, (extraction, score, pseudo, tuning) in SECONDS.items():
        features = folder / "features" / f"source={source}"
        for path in features.glob("data=*/part-*.parquet"):
            stage_log.add_part(features, path.relative_to(features).as_posix(), extraction)
        stage_log.write_seconds(folder / "scores" / "parc" / f"{source}.parquet", score)
        stage_log.write_seconds(folder / "pseudo" / f"source={source}", pseudo)
        tune(folder, source, tuning)
    return folder


@pytest.fixture
def workspace(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "task"))


def cost(workspace: Path, *arguments: str) -> Any:
    result = run("evaluate", "cost", *arguments, "--json", workspace=workspace)
    assert result.code == 0, result.err
    return result.data


def test_costs_equal_sums_by_hand(workspace: Path) -> None:
    data = cost(workspace, "--top", "2")
    ranked = run("rank", "--json", workspace=workspace).data
    first, second, _ = (row["source"] for row in ranked)
    assert {
        row["source"]: (row["extraction"], row["scoring"], row["pseudo_labels"], row["fine_tuning"])
        for row in data["sources"]
    } == SECONDS
    plans = {plan["plan"]: plan for plan in data["plans"]}
    selection = 3.0 + 0.5 + 2.0 + 0.25 + 4.0 + 0.75
    seconds = {
        "brute force": 150.0,
        "first choice": selection + SECONDS[first][3],
        "top 2": selection + SECONDS[first][3] + SECONDS[second][3],
    }
    assert {name: plan["seconds"] for name, plan in plans.items()} == pytest.approx(seconds)
    for name, plan in plans.items():
        assert plan["relative"] == pytest.approx(seconds[name] / 50)
        assert plan["missing"] == []
    assert plans["brute force"]["speedup"] is None
    assert plans["top 2"]["speedup"] == pytest.approx(150 / seconds["top 2"])
    assert plans["top 2"]["fine_tuned"] == 2
    assert plans["top 2"]["sources"] == [first, second]


def test_missing_logs_are_named_and_nothing_is_computed(workspace: Path) -> None:
    (workspace / "features" / "_source=beta.log.json").unlink()
    (workspace / "scores" / "parc" / "_gamma.log.json").unlink()
    (workspace / "runs" / "finetune-alpha.log.json").unlink()
    data = cost(workspace)
    rows = {row["source"]: row for row in data["sources"]}
    assert {name: row["missing"] for name, row in rows.items()} == {
        "alpha": ["fine-tuning"],
        "beta": ["extraction"],
        "gamma": ["score"],
    }
    plans = {plan["plan"]: plan for plan in data["plans"]}
    assert plans["brute force"]["seconds"] is None
    assert plans["brute force"]["missing"] == ["fine-tuning of alpha"]
    assert sorted(plans["top 3"]["missing"]) == ["extraction of beta", "fine-tuning of alpha", "score of gamma"]
    assert (plans["top 3"]["seconds"], plans["top 3"]["relative"], plans["top 3"]["speedup"]) == (None, None, None)
    table = run("evaluate", "cost", "--format", "md", workspace=workspace)
    assert "| beta | - | 0.2 | 1.5 | 60.0 | - | extraction |" in table.out.splitlines()


def test_parts_without_a_time_are_counted(workspace: Path) -> None:
    part = next((workspace / "features" / "source=alpha").glob("data=*/part-*.parquet"))
    shutil.copy(part, part.with_name("part-00001-of-00002.parquet"))
    row = next(row for row in cost(workspace)["sources"] if row["source"] == "alpha")
    assert row["extraction"] is None
    assert row["missing"] == ["extraction: 1 of 2 parts logged"]


def test_selection_by_gradients_costs_their_extraction_too(workspace: Path) -> None:
    assert run("extract", "--gradients", "--source", "alpha", workspace=workspace).code == 0
    assert run("score", "--metric", "lgc", "--source", "alpha", workspace=workspace).code == 0
    folder = workspace / "gradients" / "source=alpha"
    parts = {path.name: 5.0 for path in folder.glob("part-*.parquet")}
    logged = json.loads((folder.parent / "_source=alpha.log.json").read_text())
    assert logged["parts"].keys() == parts.keys()
    (folder.parent / "_source=alpha.log.json").write_text(json.dumps({"seconds": 5.0 * len(parts), "parts": parts}))
    rows = {row["source"]: row for row in cost(workspace, "--metric", "lgc")["sources"]}
    assert rows["alpha"]["extraction"] == 3.0 + 5.0 * len(parts)
    assert rows["beta"]["missing"] == ["gradients", "score"]


def test_fine_tunings_are_averaged_with_their_sweeps(workspace: Path) -> None:
    folder = tune(workspace, "alpha", 20.0, name="swept")
    for rate, seconds in (("lr-0.1", 5.0), ("lr-0.01", 7.0)):
        (folder / "sweep" / rate).mkdir(parents=True)
        (folder / "sweep" / f"{rate}.log.json").write_text(json.dumps({"seconds": seconds}))
    row = next(row for row in cost(workspace)["sources"] if row["source"] == "alpha")
    assert (row["fine_tuning"], row["runs"]) == ((40 + 20 + 5 + 7) / 2, 2)


def test_resumed_fine_tuning_is_not_counted(workspace: Path) -> None:
    shutil.rmtree(workspace / "runs" / "finetune-alpha")
    tune(workspace, "alpha", 20.0, from_step=5)
    row = next(row for row in cost(workspace)["sources"] if row["source"] == "alpha")
    assert (row["fine_tuning"], row["missing"]) == (None, ["fine-tuning before it was resumed"])


def test_excluded_source_costs_nothing(workspace: Path) -> None:
    text = (workspace / "zoo.toml").read_text()
    (workspace / "zoo.toml").write_text(text.replace('name = "patterns"', 'name = "shapes"'))
    assert {row["source"] for row in cost(workspace)["sources"]} == {"beta", "gamma"}


def test_tables_name_every_number(workspace: Path, tmp_path: Path) -> None:
    out = tmp_path / "plans.parquet"
    result = run("evaluate", "cost", "--format", "table", "--out", str(out), workspace=workspace)
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert max(map(len, lines[:9])) <= 80
    assert "one fine-tuning: 50.0 s, the mean over 3 of 3 sources" in lines
    assert [row["plan"] for row in pq.read_table(out).to_pylist()] == ["brute force", "first choice", "top 3"]


def test_damaged_log_is_refused(workspace: Path) -> None:
    (workspace / "pseudo" / "_source=alpha.log.json").write_text('{"seconds": "long"}')
    result = run("evaluate", "cost", workspace=workspace)
    assert result.code == 3
    assert "_source=alpha.log.json" in result.error


def test_refused_options(workspace: Path) -> None:
    assert run("evaluate", "cost", "--top", "0", workspace=workspace).code == 2
    assert run("evaluate", "cost", "--metric", "nose", workspace=workspace).code == 2


# The logs -------------------------------------------------------------------------------------------------------------


def test_every_stage_leaves_a_log(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="extract")
    before = {path: path.read_bytes() for path in workspace.glob("features/*/*/*.parquet")}
    assert run("score", "--metric", "parc", "--metric", "leep", "--overwrite", workspace=workspace).code == 0
    assert run("pseudo-label", workspace=workspace).code == 0
    score = stage_log.load_log(workspace / "scores" / "parc" / "alpha.parquet")
    assert score is not None
    assert (score.seconds > 0, score.together) == (True, ["parc", "leep"])
    pseudo = stage_log.load_log(workspace / "pseudo" / "source=alpha")
    assert pseudo is not None
    assert pseudo.seconds > 0
    for name in ("alpha", "beta", "gamma"):
        folder = workspace / "features" / f"source={name}"
        log = stage_log.load_log(folder)
        assert log is not None
        assert log.parts is not None
        assert {folder / part for part in log.parts} == {path for path in before if folder in path.parents}
        assert log.seconds == pytest.approx(sum(log.parts.values()))
    assert run("verify", workspace=workspace).code == 0
    data = cost(workspace)
    assert [row["missing"] for row in data["sources"]] == [["fine-tuning"]] * 3
    assert data["plans"][0]["seconds"] is None


def test_parts_of_another_number_are_dropped(tmp_path: Path) -> None:
    folder = tmp_path / "source=x"
    for part in ("data=train/part-00000-of-00002.parquet", "data=more/part-00000-of-00001.parquet"):
        stage_log.add_part(folder, part, 1.0)
    stage_log.add_part(folder, "data=train/part-00000-of-00001.parquet", 4.0)
    log = stage_log.load_log(folder)
    assert log is not None
    assert log.parts == {"data=more/part-00000-of-00001.parquet": 1.0, "data=train/part-00000-of-00001.parquet": 4.0}
    assert log.seconds == 5.0


def test_plan_of_equal_sources_is_a_plain_sum() -> None:
    rows = [SourceCost(f"s{i}", float(i % 3), 1.0, 0.5, None, 10.0, 1) for i in range(6)]
    brute, first, top = compare_plans(rows, 3)
    assert (brute.seconds, brute.relative, first.seconds, top.seconds) == (60.0, 6.0, 19.0, 39.0)
    assert first.fine_tuned == ("s2",)
    assert top.fine_tuned == ("s2", "s5", "s1")
    assert len(compare_plans(rows, 1)) == 2
    unscored = [SourceCost("a", None, None, None, None, None, 0)]
    assert [plan.seconds for plan in compare_plans(unscored, 3)] == [None]
