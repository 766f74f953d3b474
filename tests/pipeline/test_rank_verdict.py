"""`fit`, `labels_needed` and `head` of `zoo rank`: the same in the file, the table and --json; what to run next."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from zoo_cli import config
from zoo_cli.pipeline import distill_notes
from zoo_cli.pipeline.rank import Ranking, RankRow
from zoo_cli.pipeline.ranking_spec import parse_ranking
from zoo_cli.ranking.verdict import Verdict

from ..workspaces import edit, make, run, unseal
from .test_rank import zoo

COLUMNS = ("fit", "labels_needed", "head", "head_low", "head_high", "head_nll")


def test_verdict_is_the_same_in_file_table_and_json(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="score")
    result = run("rank", "--json", workspace=workspace)
    assert result.code == 0, result.err
    stored = pq.read_table(workspace / "ranking.parquet").to_pylist()
    assert [{key: row[key] for key in COLUMNS} for row in result.data] == [
        {key: row[key] for key in COLUMNS} for row in stored
    ]
    lines = run("rank", "--format", "tsv", workspace=workspace).out.splitlines()
    titles = lines[0].split("\t")
    for row, line in zip(stored, lines[1:], strict=True):
        shown = dict(zip(titles, line.split("\t"), strict=True))
        assert shown["source"] == row["source"]
        assert shown["fit"] == row["fit"]
        assert (shown["labels_needed"] or None) == (None if row["labels_needed"] is None else str(row["labels_needed"]))
        assert float(shown["head"]) == pytest.approx(row["head"])
    verdict = json.loads(result.out)["meta"]["verdict"]
    assert verdict["fits"] == [row["source"] for row in stored if row["fit"] == "yes"]
    if verdict["kind"] != "none":
        assert verdict["sources"][0] == stored[0]["source"]
    for row in stored:
        assert (row["labels_needed"] is None) or row["fit"] == "unknown"


def test_head_is_that_of_the_pool(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="score")
    rows = {row["source"]: row for row in run("rank", "--json", workspace=workspace).data}
    heads = run("pseudo-label", "--head", "ridge", "--json", workspace=workspace).data
    assert {head["source"] for head in heads} == set(rows)
    for head in heads:
        row = rows[head["source"]]
        assert (row["head"], row["head_nll"]) == pytest.approx((head["accuracy"], head["nll"]))
        assert row["head_low"] < row["head"] < row["head_high"]


def test_rank_names_the_next_command_and_the_pool(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="score")
    before = run("rank", "--json", workspace=workspace)
    meta = json.loads(before.out)["meta"]
    assert (meta["pool"], meta["next"]) == (None, "zoo pseudo-label --head ridge --show 20")
    assert run(*meta["next"].split()[1:], workspace=workspace).code == 0
    meta = json.loads(run("rank", "--json", workspace=workspace).out)["meta"]
    assert (meta["pool"]["pool"], meta["next"]) == ("product", "zoo distill --objective heads")
    last = run("rank", "--format", "table", workspace=workspace).out.splitlines()[-2:]
    assert last[0].startswith("product of 3 ridge heads: about ")
    assert last[1].startswith("next: zoo distill --objective heads")
    assert run("split", "--seed", "5", "--overwrite", workspace=workspace).code == 0
    later = json.loads(run("rank", "--refresh", "--json", workspace=workspace).out)["meta"]
    assert later["pool"] is None, "a pool of other labels is not shown"


def test_excluded_source_and_ranking_from_files_have_no_head(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="extract")
    edit(workspace, 'trained_on = ["shapes"]', 'trained_on = ["patterns"]')
    last = run("rank", "--json", workspace=workspace).data[-1]
    assert [last[key] for key in COLUMNS] == [None] * len(COLUMNS)
    result = run("rank", *zoo(tmp_path, {"a": 1.0, "b": 0.0}), "--json", "-C", str(tmp_path))
    assert {row["source"]: row["fit"] for row in result.data} == {"a": "yes", "b": "no"}
    assert all(row["head"] is None for row in result.data)
    assert json.loads(result.out)["meta"]["next"] is None


def test_one_label_a_class_has_no_head(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", labelled="1/class")
    result = run("rank", "--json", "--metric", "random", workspace=workspace)
    assert result.code == 0, result.err
    assert all(row["head"] is None for row in result.data)


def ranking(rows: dict[str, tuple[str | None, float]]) -> Ranking:
    spec = parse_ranking(["parc"], None, "equal")
    lines = [RankRow(name, "parc", "features", weight, fit=fit) for name, (fit, weight) in rows.items()]
    return Ranking(spec, lines, 1.0, None, Verdict("none", (), (), ""), {})


def test_distilling_from_sources_that_do_not_fit_is_said() -> None:
    note = distill_notes.describe_misfits(ranking({"a": ("no", 0.2), "b": ("yes", 0.4), "c": ("no", 0.4)}))
    assert note == "against the verdict of zoo rank: c and a do not fit this task, with 60 % of the weight (equal)"
    assert distill_notes.describe_misfits(ranking({"a": ("unknown", 0.6), "b": ("no", 0.4)})) is None
    assert distill_notes.describe_misfits(ranking({"a": (None, 1.0)})) is None


def test_distill_says_that_better_heads_are_stored(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="pseudo-label")
    settings = config.load(workspace)
    assert distill_notes.describe_heads(settings) is None
    assert run("pseudo-label", "--head", "ridge", workspace=workspace).code == 0
    path = workspace / "pseudo/head=ridge-product/_head.json"
    record = unseal(path)
    for low, expected in ((0.0, False), (1.0, True)):
        record["estimate"] |= {"accuracy": 1.0, "low": low, "high": 1.0, "reason": None}
        path.write_text(json.dumps(record))
        note = distill_notes.describe_heads(settings)
        assert (note is not None) == expected
    result = run("distill", "--steps", "1", "--device", "cpu", workspace=workspace)
    assert result.code == 0, result.err
    assert note is not None
    assert result.err.count(note) == 1
    assert "zoo distill --objective heads" not in run("distill", "--lam", "1", "--steps", "1", workspace=workspace).err
