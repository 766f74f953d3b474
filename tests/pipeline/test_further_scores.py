"""`zoo score` with metrics that need more than a source's outputs: a reference, class means, other sources."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zoo_cli.metrics.domain_similarity import domain_similarity
from zoo_cli.metrics.probe import Probe
from zoo_cli.store import parquet_files, schemas
from zoo_cli.store.columns import to_list_column

from ..workspaces import edit, make, run


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return make(tmp_path / "task", upto="extract")


def values(data: list[dict[str, Any]]) -> dict[str, float | None]:
    return {row["source"]: row["value"] for row in data}


def means(path: Path, width: int, *, classes: int = 3, names: list[str] | None = None) -> Path:
    """The class means of a source, as another program writes them: plain lists."""
    draw = np.random.default_rng(width)
    table = {
        "class": names or [f"class {i}" for i in range(classes)],
        "count": pa.array(range(10, 10 * classes + 1, 10), pa.int64()),
        "mean": [row.tolist() for row in draw.random((classes, width))],
    }
    pq.write_table(pa.table(table), path)
    return path


# A reference ---------------------------------------------------------------------------------------------------------


def test_scores_with_reference_are_ranked_without_it(workspace: Path) -> None:
    reference = str(workspace / "features" / "source=@student")
    result = run("score", "--metric", "rsa-ref", "--reference", reference, "--json", workspace=workspace)
    assert result.code == 0, result.err
    scores = values(result.data)
    assert scores["@student"] == pytest.approx(1.0)
    assert all(row["chance"] == 0 for row in result.data)
    assert values(run("score", "--metric", "rsa-ref", "--json", workspace=workspace).data) == scores
    ranked = run("rank", "--metric", "rsa-ref", "--json", workspace=workspace)
    assert ranked.code == 0, ranked.err
    assert {row["source"]: row["value"] for row in ranked.data} == {k: v for k, v in scores.items() if k != "@student"}


@pytest.mark.parametrize("command", ["score", "rank"])
def test_missing_reference_error_names_the_flag(workspace: Path, command: str) -> None:
    result = run(command, "--metric", "rsa-ref", workspace=workspace)
    assert result.code == 2
    assert "zoo score --metric rsa-ref --reference PATH" in result.error
    assert not (workspace / "scores" / "rsa-ref.parquet").exists()


def test_other_reference_makes_scores_stale(workspace: Path) -> None:
    first, second = (str(workspace / "features" / f"source={name}") for name in ("alpha", "beta"))
    assert run("score", "--metric", "rsa-ref", "--reference", first, workspace=workspace).code == 0
    result = run("score", "--metric", "rsa-ref", "--reference", second, workspace=workspace)
    assert result.code == 2
    assert "made from other inputs: reference" in result.error
    again = run("score", "--metric", "rsa-ref", "--reference", second, "--overwrite", "--json", workspace=workspace)
    assert values(again.data)["beta"] == pytest.approx(1.0)


def test_unused_reference_is_wrong_usage(workspace: Path) -> None:
    result = run("score", "--metric", "parc", "--reference", "nowhere", workspace=workspace)
    assert result.code == 2
    assert "use it with --metric rsa-ref" in result.error


def test_reference_needs_features_of_the_probe_set(workspace: Path, tmp_path: Path) -> None:
    logits = tmp_path / "logits.parquet"
    pq.write_table(pa.table({"id": ["a"], "logits": [[0.5, 1.0]]}), logits)
    result = run("score", "--metric", "rsa-ref", "--reference", str(logits), workspace=workspace)
    assert result.code == 3
    assert "no column embedding" in result.error
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"id": ["a"], "embedding": [[0.5, 1.0]]}), other)
    result = run("score", "--metric", "rsa-ref", "--reference", str(other), workspace=workspace)
    assert result.code == 3
    assert "lacks 15 of 15 ids" in result.error


def test_reference_works_with_paths(workspace: Path) -> None:
    alpha, beta = (str(workspace / "features" / f"source={name}") for name in ("alpha", "beta"))
    arguments = ("--features", alpha, "--features", beta, "--manifest", str(workspace / "manifest.parquet"))
    bare = run("score", "--metric", "rsa-ref", "--reference", beta, *arguments, "--json")
    assert bare.code == 0, bare.err
    inside = run("score", "--metric", "rsa-ref", "--reference", beta, "--json", workspace=workspace)
    assert values(bare.data) == {name: values(inside.data)[name] for name in ("alpha", "beta")}
    assert run("score", "--metric", "rsa-ref", *arguments, "--json").data[0]["status"] == "skipped"


@pytest.mark.slow
def test_documented_reference_chain_runs(workspace: Path) -> None:
    chain = (
        ("distill", "--lam", "1", "--steps", "6", "--batch-size", "8", "--name", "small"),
        ("extract", "--source", f"file:{workspace / 'runs' / 'small'}"),
        ("score", "--metric", "rsa-ref", "--reference", str(workspace / "features" / "source=small")),
    )
    for arguments in chain:
        result = run(*arguments, workspace=workspace)
        assert result.code == 0, result.err
    assert (workspace / "scores" / "rsa-ref.parquet").exists()


# Class means ---------------------------------------------------------------------------------------------------------


def test_sources_without_class_means_are_skipped(workspace: Path) -> None:
    path = means(workspace / "features" / "source=alpha" / "source_means.parquet", 8)
    result = run("score", "--metric", "domain-similarity", "--json", workspace=workspace)
    assert result.code == 0, result.err
    rows = {row["source"]: row for row in result.data}
    assert [rows[name]["status"] for name in ("alpha", "beta", "gamma", "@student")] == ["ok"] + 3 * ["skipped"]
    assert rows["beta"]["reason"] == "missing source class means"
    assert "beta is left out of domain-similarity: missing source class means" in result.err
    assert rows["alpha"]["value"] == pytest.approx(domain_similarity(probe(workspace, "alpha", path)))
    assert rows["alpha"]["low"] < rows["alpha"]["value"] < rows["alpha"]["high"]
    assert rows["alpha"]["chance"] is None


def probe(workspace: Path, source: str, path: Path) -> Probe:
    labels = {
        row["id"]: row["label"] for row in pq.read_table(workspace / "manifest.parquet").to_pylist() if row["probe"]
    }
    parts = sorted((workspace / "features" / f"source={source}").glob("data=*/*.parquet"))
    stored = {row["id"]: row["embedding"] for part in parts for row in pq.read_table(part).to_pylist()}
    table = pq.read_table(path)
    return Probe.of(
        np.array([stored[name] for name in labels], np.float32),
        np.array(list(labels.values())),
        source_means=np.array(table.column("mean").to_pylist()),
        source_counts=table.column("count").to_numpy(),
    )


def test_class_means_make_only_their_scores_stale(workspace: Path) -> None:
    before = run("score", "--metric", "parc", "--json", workspace=workspace).data
    assert run("score", "--metric", "domain-similarity", workspace=workspace).code == 0
    means(workspace / "features" / "source=alpha" / "source_means.parquet", 8)
    assert run("extract", workspace=workspace).code == 0
    again = run("score", "--metric", "parc", "--overwrite", "--json", workspace=workspace)
    assert again.code == 0, again.err
    assert again.data == before
    result = run("score", "--metric", "domain-similarity", workspace=workspace)
    assert result.code == 2
    assert "made from other inputs: source" in result.error


def test_class_means_are_read_beside_features_by_path(workspace: Path) -> None:
    folder = workspace / "features" / "source=alpha"
    path = means(folder / "source_means.parquet", 8)
    arguments = ("--features", str(folder), "--manifest", str(workspace / "manifest.parquet"))
    result = run("score", "--metric", "domain-similarity:min_images=20", *arguments, "--json")
    assert result.code == 0, result.err
    assert values(result.data)["alpha"] == pytest.approx(
        domain_similarity(probe(workspace, "alpha", path), min_images=20)
    )


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"width": 5}, "features of width 8"),
        ({"width": 8, "names": ["cat", "dog", "cat"]}, "names a class twice"),
    ],
)
def test_wrong_class_means_are_refused(workspace: Path, written: dict[str, Any], message: str) -> None:
    means(workspace / "features" / "source=alpha" / "source_means.parquet", **written)
    result = run("score", "--metric", "domain-similarity", workspace=workspace)
    assert result.code == 3
    assert message in result.error


def test_class_means_can_be_written_with_the_schema(workspace: Path) -> None:
    path = workspace / "features" / "source=alpha" / schemas.SOURCE_MEANS.file
    table = pa.table(
        {"class": ["a"], "count": pa.array([3], pa.int64()), "mean": to_list_column(np.ones((1, 8), np.float32))}
    )
    parquet_files.write_table(path, table, schemas.SOURCE_MEANS, {})
    result = run("score", "--metric", "domain-similarity", "--json", workspace=workspace)
    assert values(result.data)["alpha"] is not None


# Without flags -------------------------------------------------------------------------------------------------------


def test_default_metrics_without_inputs_are_left_out(workspace: Path) -> None:
    result = run("score", "--json", workspace=workspace)
    assert result.code == 0, result.err
    assert {"rsa-ref", "domain-similarity"}.isdisjoint(row["metric"] for row in result.data)
    assert "left out" not in result.err
    means(workspace / "features" / "source=alpha" / "source_means.parquet", 8)
    reference = str(workspace / "features" / "source=beta")
    result = run("score", "--reference", reference, "--json", workspace=workspace)
    assert result.code == 0, result.err
    assert {"rsa-ref", "domain-similarity", "sparsity"} <= {row["metric"] for row in result.data}


def test_assumed_metric_is_flagged(workspace: Path) -> None:
    rows = run("score", "--metric", "sparsity", "--json", workspace=workspace).data
    assert all("assumed" in row["flags"].split(",") and row["chance"] is None for row in rows)


# Ensembles ------------------------------------------------------------------------------------------------------------


def test_ensemble_metric_scores_sources_and_ensemble(workspace: Path) -> None:
    result = run("score", "--metric", "e-leep", "--json", workspace=workspace)
    assert result.code == 0, result.err
    alone = values(run("score", "--metric", "leep", "--json", workspace=workspace).data)
    assert values(result.data) == pytest.approx(alone)
    (chosen,) = json.loads(result.out)["meta"]["sets"]
    stored = json.loads((workspace / "scores" / "e-leep.json").read_text())
    assert {key: value for key, value in stored.items() if key not in ("inputs", "seal")} == chosen
    best = max((name for name in alone if name != "@student"), key=lambda name: alone[name] or -9)
    assert chosen["sources"][0] == {
        "source": best, "score": pytest.approx(alone[best]), "gain": None, "low": None, "high": None
    }  # fmt: skip
    assert chosen["stopped_at"]["low"] <= 0
    assert "@student" not in [step["source"] for step in (*chosen["sources"], chosen["stopped_at"])]
    again = run("score", "--metric", "e-leep", "--format", "table", workspace=workspace)
    assert again.code == 0, again.err
    assert f"e-leep of an ensemble: {best} alone {alone[best]:.4f}" in again.out
    assert f"{chosen['stopped_at']['source']} would add" in again.out


def test_leaked_source_enters_no_ensemble(workspace: Path) -> None:
    best = _first(workspace, "--overwrite")
    assert best == "alpha"
    edit(workspace, 'trained_on = ["shapes"]', 'trained_on = ["patterns"]')
    stale = run("score", "--metric", "e-leep", workspace=workspace)
    assert stale.code == 2
    assert "left_out" in stale.error
    assert _first(workspace, "--overwrite") != "alpha"
    result = run("score", "--metric", "e-leep", "--format", "table", workspace=workspace)
    assert "alpha may not enter: trained on patterns" in result.out


def _first(workspace: Path, *more: str) -> str:
    result = run("score", "--metric", "e-leep", "--json", *more, workspace=workspace)
    assert result.code == 0, result.err
    name: str = json.loads(result.out)["meta"]["sets"][0]["sources"][0]["source"]
    return name


def test_ensemble_of_paths_is_stored_beside_the_scores(workspace: Path, tmp_path: Path) -> None:
    paths = [str(workspace / "features" / f"source={name}") for name in ("alpha", "beta")]
    arguments = [text for path in paths for text in ("--features", path)]
    arguments += ["--manifest", str(workspace / "manifest.parquet"), "--out", str(tmp_path / "sets.parquet")]
    result = run("score", "--metric", "ms-leep", *arguments, "--json")
    assert result.code == 0, result.err
    (chosen,) = json.loads(result.out)["meta"]["sets"]
    assert len(chosen["sources"]) == 1
    assert json.loads((tmp_path / "sets.json").read_text())["sources"] == chosen["sources"]


def test_deleted_ensemble_is_chosen_again(workspace: Path) -> None:
    first = run("score", "--metric", "e-leep", "--json", workspace=workspace)
    path = workspace / "scores" / "e-leep.json"
    before = path.read_bytes()
    path.unlink()
    assert run("score", "--metric", "e-leep", "--json", workspace=workspace).out == first.out
    assert path.read_bytes() == before


def test_single_source_metric_has_no_ensemble(workspace: Path) -> None:
    result = run("score", "--metric", "parc", "--json", workspace=workspace)
    assert json.loads(result.out)["meta"] == {}
    assert not (workspace / "scores" / "parc.json").exists()


def test_sigmoid_source_is_skipped_by_distribution_metrics(tmp_path: Path) -> None:
    place = make(tmp_path / "task")
    edit(place, 'name = "beta"', 'name = "beta"\noutput = "sigmoid"')
    distributions = ("leep", "nce", "ms-leep", "e-leep")
    flags = [text for name in (*distributions, "parc") for text in ("--metric", name)]
    result = run("score", *flags, "--json", workspace=place)
    assert result.code == 0, result.err
    for row in result.data:
        left_out = row["source"] == "beta" and row["metric"] in distributions
        assert (row["value"] is None, row["status"]) == ((True, "skipped") if left_out else (False, "ok"))
    assert "beta is left out of leep: its outputs are not a probability distribution (sigmoid)" in result.err
    assert run("score", workspace=place).code == 0
    ranked = run("rank", "--metric", "leep", "--json", workspace=place)
    assert {row["source"]: row["rank"] is None for row in ranked.data} == {"alpha": False, "beta": True, "gamma": False}
