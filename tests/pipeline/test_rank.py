"""The answer of `zoo rank`: order, exclusion, several metrics, the capacity term, the classes, the verdict."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zoo_cli.pipeline.metric_specs import split_specs
from zoo_cli.store import files

from ..workspaces import edit, make, run


def stored(path: Path, features: np.ndarray, labels: np.ndarray) -> str:
    """Store the features of one source by path."""
    ids = [f"s{row:03}" for row in range(len(labels))]
    pq.write_table(pa.table({"id": ids, "label": labels, "embedding": features.tolist()}), path)
    return str(path)


def zoo(folder: Path, strengths: dict[str, float], seed: int = 0, samples: int = 120) -> list[str]:
    """Gaussian sources on one probe set of six classes; the strength of a source is the distance of its classes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(samples) % 6
    flags = []
    for name, strength in strengths.items():
        centres = rng.standard_normal((6, 16))
        features = rng.standard_normal((samples, 16)) + strength * centres[labels]
        flags += ["--features", stored(folder / f"{name}.parquet", features, labels)]
    return flags


def test_verdict_names_best_tie_or_no_fit(tmp_path: Path) -> None:
    for strengths, kind, sources in (
        ({"strong": 2.0, "weak": 0.3, "none": 0.0}, "best", ["strong"]),
        ({"one": 1.0, "two": 1.0, "none": 0.0}, "tie", ["one", "two"]),
        ({"a": 0.0, "b": 0.0, "c": 0.0}, "unknown", ["a"]),
        ({"a": 0.0, "b": 0.0, "c": 0.0}, "none", []),
    ):
        samples = 480 if kind == "none" else 120
        result = run("rank", *zoo(tmp_path, strengths, samples=samples), "--json", "-C", str(tmp_path))
        assert result.code == 0, result.err
        verdict = json.loads(result.out)["meta"]["verdict"]
        assert (verdict["kind"], sorted(verdict["sources"])) == (kind, sources)
        shown = run("rank", *zoo(tmp_path, strengths, samples=samples), "--format", "table", "-C", str(tmp_path))
        assert shown.out.splitlines()[-1] == verdict["sentence"]


def test_several_metrics_rank_by_mean_z_with_borda(tmp_path: Path) -> None:
    flags = zoo(tmp_path, {"strong": 2.0, "weak": 0.5, "none": 0.0})
    single = {
        name: {row["source"]: row["value"] for row in run("score", *flags, "--metric", name, "--json").data}
        for name in ("parc", "lfc")
    }
    rows = run("rank", *flags, "--metric", "parc,lfc", "--json").data
    assert [row["source"] for row in rows] == ["strong", "weak", "none"]
    assert [row["borda"] for row in rows] == [4.0, 2.0, 0.0]
    for row in rows:
        z = [
            (scores[row["source"]] - np.mean(list(scores.values()))) / np.std(list(scores.values()), ddof=1)
            for scores in single.values()
        ]
        assert row["value"] == pytest.approx(np.mean(z))
        assert row["low"] < row["value"] < row["high"]
    assert rows[0]["metric"] == "parc,lfc"
    again = run("rank", *flags, "--metric", "parc", "--metric", "lfc", "--json").data
    assert again == rows


def test_metrics_of_two_representations_are_refused(tmp_path: Path) -> None:
    result = run("rank", "--metric", "parc,leep", workspace=tmp_path)
    assert (result.code, "one ranking uses one representation" in result.error) == (2, True)


@pytest.mark.parametrize(
    ("text", "specs"),
    [
        ("parc", ["parc"]),
        ("parc,lfc", ["parc", "lfc"]),
        ("parc:pca=32,cosine=true,lfc", ["parc:pca=32,cosine=true", "lfc"]),
        ("lfc,parc:pca=32,cosine=true", ["lfc", "parc:pca=32,cosine=true"]),
    ],
)
def test_commas_split_metrics_but_not_parameters(text: str, specs: list[str]) -> None:
    assert split_specs(text) == specs


def test_capacity_term_adds_depth_over_fifty(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="extract")
    plain = {row["source"]: row for row in run("rank", "--json", workspace=workspace).data}
    for name, depth in (("alpha", 18), ("beta", 50)):
        edit(workspace, f'name = "{name}"\n', f'name = "{name}"\ndepth = {depth}\n')
    rows = {row["source"]: row for row in run("rank", "--plasticity", "--json", workspace=workspace).data}
    values = np.array([plain[name]["value"] for name in plain])
    for name, depth in (("alpha", 18), ("beta", 50)):
        z = (plain[name]["value"] - values.mean()) / values.std(ddof=1)
        assert rows[name]["value"] == pytest.approx(z + depth / 50)
    assert rows["gamma"]["excluded"] == "undefined: no depth declared"
    assert rows["gamma"]["weight"] == 0


def test_leaked_source_is_excluded_and_similar_name_warns(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="extract")
    edit(workspace, 'trained_on = ["shapes"]', 'trained_on = ["patterns"]')
    rows = run("rank", "--json", workspace=workspace).data
    assert (rows[-1]["source"], rows[-1]["rank"], rows[-1]["weight"]) == ("alpha", None, 0)
    assert rows[-1]["excluded"] == "trained on patterns"
    edit(workspace, 'trained_on = ["patterns"]', 'trained_on = ["pattern"]')
    result = run("rank", "--json", workspace=workspace)
    assert all(row["excluded"] is None for row in result.data)
    assert 'alpha was trained on "pattern", nearly the name of this task' in result.err
    edit(workspace, "[task]\n", '[task]\naliases = ["pattern"]\n')
    assert run("rank", "--json", workspace=workspace).data[-1]["excluded"] == "trained on pattern"


def test_equal_sources_share_a_rank(tmp_path: Path) -> None:
    flags = zoo(tmp_path, {"a": 1.0})
    pq.write_table(pq.read_table(tmp_path / "a.parquet"), tmp_path / "twin.parquet")
    rows = run("rank", *flags, "--features", str(tmp_path / "twin.parquet"), "--json").data
    assert [(row["source"], row["rank"], row["p_best"], row["weight"]) for row in rows] == [
        ("a", 1, 0.5, 0.5),
        ("twin", 1, 0.5, 0.5),
    ]


def test_explain_lists_classes_and_the_student(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="extract")
    rows = run("rank", "--explain", "alpha", "--json", workspace=workspace).data
    assert {row["class"] for row in rows} == {"blue", "green", "red"}
    assert [row["auc"] for row in rows] == sorted((row["auc"] for row in rows), reverse=True)
    assert all(0 <= row["student"] <= 1 for row in rows)


def test_exported_weights_can_be_read_back(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="score")
    rows = run("rank", "--weighting", "p=3", "--json", workspace=workspace).data
    exported = files.read_json(workspace / "weights.json")
    assert {row["source"]: row["weight"] for row in exported["sources"]} == {
        row["source"]: row["weight"] for row in rows
    }
    again = run("rank", "--weighting", f"file:{workspace / 'weights.json'}", "--json", workspace=workspace).data
    assert [row["weight"] for row in again] == pytest.approx([row["weight"] for row in rows])


def test_stored_scores_serve_a_ranking_of_some_sources(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="score")
    all_rows = {row["source"]: row for row in run("rank", "--json", workspace=workspace).data}
    result = run("rank", "--source", "alpha", "--source", "gamma", "--json", workspace=workspace)
    assert result.code == 0, result.err
    assert {row["source"]: row["value"] for row in result.data} == {n: all_rows[n]["value"] for n in ("alpha", "gamma")}
    assert run("rank", "--json", workspace=workspace).code == 0
