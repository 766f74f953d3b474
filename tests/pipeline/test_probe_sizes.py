"""`--probe-per-class`: scores on parts of the probe set, and how metrics change with its size."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from zoo_cli.pipeline.probe_set import draw_per_class
from zoo_cli.store import parquet_files

from ..workspaces import edit, make, run

SCORE = ("score", "--metric", "parc", "--metric", "leep", "--json")
SIZES = ("--probe-per-class", "2", "--probe-per-class", "4", "--probe-per-class", "all")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Without scores."""
    return make(tmp_path / "task", upto="extract")


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scored on every size; tests only read it."""
    folder = make(tmp_path_factory.mktemp("scored") / "task", upto="extract")
    assert run(*SCORE, *SIZES, workspace=folder).code == 0
    return folder


def scores(data: list[dict[str, Any]]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    return {
        (row["metric"], row["per_class"], row["source"]): (row["n"], row["value"], row["low"], row["chance"])
        for row in data
    }


def test_each_size_has_its_folder(scored: Path) -> None:
    result = run(*SCORE, *SIZES, workspace=scored)
    assert result.code == 0, result.err
    assert {path.name for path in (scored / "scores").iterdir()} == {
        *("parc", "parc-2-per-class", "parc-4-per-class"),
        *("leep", "leep-2-per-class", "leep-4-per-class"),
    }
    assert {(row["per_class"], row["n"]) for row in result.data} == {(2, 6), (4, 12), (None, 15)}
    small = parquet_files.read_header(scored / "scores" / "parc-2-per-class" / "alpha.parquet")["inputs"]
    assert small["per_class"] == 2
    whole = parquet_files.read_header(scored / "scores" / "parc" / "alpha.parquet")["inputs"]
    assert "per_class" not in whole


def test_size_equals_a_split_of_that_size(scored: Path, workspace: Path) -> None:
    edit(workspace, 'probe = "all"', 'probe = "all"\nprobe_per_class = 4')
    assert run("split", "--overwrite", workspace=workspace).code == 0
    rows = scores(run(*SCORE, "--probe-per-class", "all", workspace=workspace).data)
    sized = scores(run(*SCORE, "--probe-per-class", "4", workspace=scored).data)
    assert {(metric, 4, source): row for (metric, _, source), row in rows.items()} == sized


def test_size_does_not_depend_on_other_sizes(scored: Path, workspace: Path) -> None:
    plain = run(*SCORE, workspace=workspace)
    assert "per_class" not in plain.data[0]
    assert run(*SCORE, "--probe-per-class", "2", workspace=workspace).code == 0
    paths = sorted((workspace / "scores").rglob("*.parquet"))
    assert len(paths) == 16
    for path in paths:
        assert path.read_bytes() == (scored / path.relative_to(workspace)).read_bytes()


def test_draw_is_nested_and_ignores_the_order_of_rows() -> None:
    rng = np.random.default_rng(0)
    ids, labels = np.array([f"image {i}" for i in range(60)]), rng.integers(0, 4, 60)
    drawn = {size: set(ids[draw_per_class(ids, labels, size, 3)]) for size in (1, 2, 5, None)}
    assert drawn[1] < drawn[2] < drawn[5] < drawn[None] == set(ids)
    rows = draw_per_class(ids, labels, 5, 3)
    assert (np.diff(rows) > 0).all()
    assert all(count == 5 for count in Counter(labels[rows]).values())
    order = rng.permutation(60)
    assert set(ids[order][draw_per_class(ids[order], labels[order], 5, 3)]) == drawn[5]
    assert set(ids[draw_per_class(ids, labels, 5, 4)]) != drawn[5]


def test_short_classes_are_one_line(workspace: Path) -> None:
    result = run("score", "--metric", "leep", "--probe-per-class", "50", workspace=workspace)
    assert result.code == 0, result.err
    lines = [line for line in result.err.splitlines() if "fewer" in line]
    assert lines == ["3 classes of the probe set have fewer than 50 images: blue 5, green 5, red 5"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--metric", "parc", "--probe-per-class", "1"), "--probe-per-class 1: parc compares images of one class"),
        (("--metric", "parc", "--probe-per-class", "0"), "--probe-per-class 0"),
        (("--metric", "parc", "--probe-per-class", "few"), "--probe-per-class few"),
        (("--metric", "parc", *SIZES, "--out", "x.parquet"), "--out holds the scores on one probe set, not on 3"),
    ],
)
def test_refused_sizes(workspace: Path, arguments: tuple[str, ...], message: str) -> None:
    result = run("score", *arguments, workspace=workspace)
    assert result.code == 2
    assert result.error.startswith(message)
    assert not (workspace / "scores").exists()


def test_one_image_a_class_where_no_metric_compares_them(workspace: Path) -> None:
    result = run("score", "--metric", "leep", "--probe-per-class", "1", "--json", workspace=workspace)
    assert result.code == 0, result.err
    assert {row["n"] for row in result.data} == {3}


def test_rank_by_one_size(scored: Path, workspace: Path) -> None:
    ranked = run("rank", "--probe-per-class", "4", "--json", workspace=workspace)
    assert ranked.code == 0, ranked.err
    values = {row["source"]: row["value"] for row in ranked.data}
    rows = run("score", "--metric", "parc", "--probe-per-class", "4", "--json", workspace=scored).data
    assert values == {row["source"]: row["value"] for row in rows if row["source"] != "@student"}
    assert not (workspace / "scores" / "parc").exists()
    assert parquet_files.read_header(workspace / "ranking.parquet")["inputs"]["per_class"] == 4
    folder = run("rank", "--scores", str(workspace / "scores" / "parc-4-per-class"), "--json", workspace=workspace)
    assert {row["source"]: row["value"] for row in folder.data} == values
    assert run("rank", "--probe-per-class", "4", "--explain", "alpha", workspace=workspace).code == 2


def test_overwrite_makes_every_size_again(workspace: Path) -> None:
    arguments = ("score", "--metric", "leep", "--probe-per-class", "2", "--probe-per-class", "4")
    assert run(*arguments, workspace=workspace).code == 0
    assert run(*arguments, "--seed", "5", "--overwrite", workspace=workspace).code == 0
    headers = [parquet_files.read_header(path)["inputs"] for path in (workspace / "scores").rglob("*.parquet")]
    assert sorted((made_from["per_class"], made_from["seed"]) for made_from in headers) == [(2, 5)] * 4 + [(4, 5)] * 4
    refused = run(*arguments, workspace=workspace)
    assert refused.code == 2
    assert "zoo score --metric leep --probe-per-class 2 --overwrite" in refused.error


def test_verify_knows_the_sizes(workspace: Path) -> None:
    assert run("score", "--metric", "e-leep", "--probe-per-class", "2", workspace=workspace).code == 0
    assert run("rank", "--metric", "leep", "--probe-per-class", "2", workspace=workspace).code == 0
    result = run("verify", workspace=workspace)
    assert result.code == 0, result.out + result.err
    damaged = workspace / "scores" / "leep-2-per-class" / "beta.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    report = run("verify", workspace=workspace)
    assert report.code == 3
    assert "--probe-per-class 2" in report.out + report.err


def test_stored_outputs_by_path(scored: Path, tmp_path: Path) -> None:
    inside = run("score", "--metric", "parc", "--probe-per-class", "4", "--json", workspace=scored).data
    features = [str(scored / "features" / f"source={name}") for name in ("alpha", "beta")]
    flags = [word for path in features for word in ("--features", path)]
    out = tmp_path / "small.parquet"
    manifest = ("--manifest", str(scored / "manifest.parquet"))
    arguments = ("--metric", "parc", "--probe-per-class", "4", "--seed", "0")
    result = run("score", *flags, *manifest, *arguments, "--out", str(out), "--json", workspace=tmp_path)
    assert result.code == 0, result.err
    values = {row["source"]: row["value"] for row in inside}
    assert {row["source"]: row["value"] for row in result.data} == {name: values[name] for name in ("alpha", "beta")}
    assert parquet_files.read_header(out)["inputs"]["per_class"] == 4


# evaluate ranking -----------------------------------------------------------------------------------------------------


def test_ranking_by_size(scored: Path, tmp_path: Path) -> None:
    rows = run("score", "--metric", "parc", *SIZES, "--json", workspace=scored).data
    accuracies = tmp_path / "accuracies.csv"
    reached = {"alpha": 0.5, "beta": 0.7, "gamma": 0.6}
    accuracies.write_text("source,accuracy\n" + "".join(f"{name},{value}\n" for name, value in reached.items()))
    arguments = ("evaluate", "ranking", str(scored), str(accuracies))
    data = run(*arguments, "--json", workspace=scored).data
    parc = {row["per_class"]: row["spearman"] for row in data["metrics"] if row["metric"] == "parc"}
    order = np.argsort(np.argsort([reached[name] for name in sorted(reached)]))
    for size in (2, 4, None):
        values = {row["source"]: row["value"] for row in rows if row["per_class"] == size}
        ranks = np.argsort(np.argsort([values[name] for name in sorted(reached)]))
        assert parc[size] == pytest.approx(np.corrcoef(ranks, order)[0, 1])
    table = run(*arguments, "--format", "md", "--reference", "alpha", workspace=scored).out
    blocks = table.split("\n\n")
    grid = blocks[blocks.index("Spearman correlation, by images of a class in the probe set") + 1].splitlines()
    assert grid[0] == "| metric | on | 2 | 4 | all |"
    assert grid[2] == "| parc | features | " + " | ".join(f"{parc[size]:.2f}" for size in (2, 4, None)) + " |"
    assert "gain of the best of top 3 over alpha, points, by images of a class in the probe set" in blocks


def test_ranking_of_a_table_with_sizes(scored: Path, tmp_path: Path) -> None:
    table = tmp_path / "scores.csv"
    table.write_text(run("score", "--metric", "parc", *SIZES, "--format", "csv", workspace=scored).out)
    accuracies = tmp_path / "accuracies.csv"
    accuracies.write_text("source,accuracy\nalpha,0.5\nbeta,0.7\ngamma,0.6\n")
    by_file = run("evaluate", "ranking", str(table), str(accuracies), "--json", workspace=scored)
    assert by_file.code == 0, by_file.err
    sizes = [row["per_class"] for row in by_file.data["metrics"] if row["metric"] == "parc"]
    assert sorted(sizes, key=str) == [2, 4, None]


def test_damaged_size_is_refused(scored: Path, tmp_path: Path) -> None:
    path = scored / "scores" / "parc-4-per-class" / "alpha.parquet"
    table = pq.read_table(path)
    header = json.loads(table.schema.metadata[b"zoo"])
    header["inputs"]["per_class"] = "4"
    pq.write_table(table.replace_schema_metadata({b"zoo": json.dumps(header).encode()}), tmp_path / "x.parquet")
    result = run("rank", "--scores", str(tmp_path / "x.parquet"), workspace=scored)
    assert result.code == 3
    assert "per_class in its header" in result.error
