"""`zoo score --intervals none`: values alone, which a later command completes, and which never replace more."""

from pathlib import Path

import pytest

from tests.workspaces import make, run
from zoo_cli.ranking.uncertainty import NOT_COMPUTED

METRICS = ("--metric", "parc", "--metric", "cka")
NONE = ("score", *METRICS, "--intervals", "none")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return make(tmp_path / "task", upto="extract")


def scores(workspace: Path) -> dict[str, bytes]:
    return {path.relative_to(workspace).as_posix(): path.read_bytes() for path in workspace.glob("scores/*/*.parquet")}


def rows(workspace: Path, *words: str) -> list[dict[str, object]]:
    result = run(*words, "--json", workspace=workspace)
    assert result.code == 0, result.err
    data: list[dict[str, object]] = result.data
    return data


def test_values_are_those_of_full_scores(workspace: Path) -> None:
    alone = rows(workspace, *NONE)
    assert {(row["low"], row["high"], row["chance"], row["reason"]) for row in alone} == {
        (None, None, None, NOT_COMPUTED)
    }
    full = rows(workspace, "score", *METRICS)  # completes them: they count as missing
    assert [row["value"] for row in full] == [row["value"] for row in alone]
    assert all(row["low"] is not None for row in full)
    before = scores(workspace)
    assert rows(workspace, *NONE) == full, "scores with intervals serve too"
    assert scores(workspace) == before


def test_rank_completes_values_alone(workspace: Path) -> None:
    rows(workspace, *NONE)
    ranked = rows(workspace, "rank")
    other = make(workspace.parent / "other", upto="extract")
    assert ranked == rows(other, "rank")
    assert run("verify", workspace=workspace).code == 0


def test_values_alone_are_kept_and_verified(workspace: Path) -> None:
    rows(workspace, *NONE)
    before = scores(workspace)
    rows(workspace, *NONE)
    assert scores(workspace) == before
    assert run("verify", workspace=workspace).code == 0


def test_overwriting_with_values_alone_says_so(workspace: Path) -> None:
    rows(workspace, "score", *METRICS)
    alone = rows(workspace, *NONE, "--overwrite")
    assert all(row["low"] is None for row in alone)
    assert run("verify", workspace=workspace).code == 0
    assert all(row["low"] is not None for row in rows(workspace, "score", *METRICS))


def test_files_and_out_hold_values_alone(workspace: Path) -> None:
    features = (
        "--features",
        str(workspace / "features/source=alpha"),
        "--manifest",
        str(workspace / "manifest.parquet"),
    )
    out = workspace / "alone.parquet"
    words = ("score", *METRICS[:2], *features, "--out", str(out))
    (alone,) = rows(workspace, *words, "--intervals", "none")
    assert alone["low"] is None
    out.unlink()
    (full,) = rows(workspace, *words)
    assert full["value"] == alone["value"]
    assert full["low"] is not None


def test_unknown_intervals_suggest_the_nearest(workspace: Path) -> None:
    result = run(*NONE[:-1], "non", workspace=workspace)
    assert result.code == 2
    assert result.error.startswith('no intervals "non"; did you mean none')
