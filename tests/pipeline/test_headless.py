"""Sources without a head cannot teach by pseudo-labels: what `zoo rank` shows of them, and who gets their weight."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.pipeline.headless_workspace import make
from tests.pipeline.transfer_workspace import ok
from tests.workspaces import run
from zoo_cli import specs
from zoo_cli.pipeline import source_weights
from zoo_cli.store import files

QUICK = ("--steps", "1", "--batch-size", "8", "--workers", "0")
HEADLESS = "beta has no head and cannot teach by pseudo-labels: weight 0; --objective heads learns from its features"


def nearest_note(taken: str) -> str:
    return (
        "beta ranks first, but has no head and cannot teach by pseudo-labels: "
        f"nearest takes {taken}, the best that can; --objective heads learns from beta too"
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return make(tmp_path / "task")


def positive(rows: list[dict]) -> dict[str, float]:
    """The sources that weigh something."""
    return {row["source"]: row["weight"] for row in rows if row["weight"]}


def test_row_shows_which_source_cannot_teach(workspace: Path) -> None:
    teaches = {"beta": "no", "gamma": "yes", "alpha": "yes", "delta": "yes"}
    rows = ok("rank", "--weighting", "p=1", "--json", workspace=workspace).data
    assert rows[0]["source"] == "beta"
    assert {row["source"]: row["teaches"] for row in rows} == teaches
    assert rows[0]["weight"] == 0
    stored = pq.read_table(workspace / "ranking.parquet").to_pylist()
    assert {row["source"]: row["teaches"] for row in stored} == teaches
    table = ok("rank", "--weighting", "p=1", "--format", "table", workspace=workspace).out.splitlines()
    unable = {line.split()[1] for line in table[1 : 1 + len(teaches)] if "no head" in line}
    assert unable == {source for source, value in teaches.items() if value == "no"}
    assert HEADLESS in table


def test_weights_of_the_ranking_are_those_of_the_runs(workspace: Path) -> None:
    """The same numbers to the last digit, in every place, for several weightings in one command."""
    weightings = ("p=1", "nearest", "equal", "softmax:T=0.3")
    flags = [part for weighting in weightings for part in ("--weighting", weighting)]
    trained = ok("distill", *flags, *QUICK, workspace=workspace)
    assert trained.err.count(HEADLESS) == 1
    for weighting in weightings:
        answered = ok("rank", "--weighting", weighting, "--json", workspace=workspace).data
        exported = files.read_json(workspace / "weights.json")["sources"]
        run_json = workspace / f"runs/cross-task-parc-{specs.slug(weighting)}-s0/run.json"
        weights = positive(files.read_json(run_json)["weights"])
        stored = pq.read_table(workspace / "ranking.parquet").to_pylist()
        assert positive(answered) == positive(exported) == positive(stored) == weights
        assert "beta" not in weights
        assert sum(weights.values()) == pytest.approx(1)
        for number in map(json.dumps, weights.values()):
            assert f'"weight": {number}' in run_json.read_text()
            assert f'"weight": {number}' in (workspace / "weights.json").read_text()


def test_exported_weights_give_the_same_run(workspace: Path) -> None:
    ok("rank", "--weighting", "p=1", workspace=workspace)
    export = f"file:{workspace / 'weights.json'}"
    ok("distill", "--weighting", "p=1", "--weighting", export, *QUICK, workspace=workspace)
    runs = [workspace / f"runs/cross-task-parc-{name}-s0" for name in ("p1", "file-weights")]
    first, second = (files.read_json(folder / "run.json")["weights"] for folder in runs)
    assert first == second
    assert len(first) > 1
    assert len({(folder / "model.safetensors").read_bytes() for folder in runs}) == 1


def test_nearest_takes_the_best_that_can_teach(workspace: Path) -> None:
    ranked = ok("rank", "--weighting", "nearest", "--json", "-v", workspace=workspace)
    second = ranked.data[1]["source"]
    assert positive(ranked.data) == {second: 1.0}
    assert ranked.err.count(nearest_note(second)) == 1
    assert HEADLESS not in ranked.err
    trained = ok("distill", "--weighting", "nearest", *QUICK, workspace=workspace)
    assert trained.err.count(nearest_note(second)) == 1
    weights = files.read_json(workspace / "runs/cross-task-parc-nearest-s0/run.json")["weights"]
    assert weights == [{"source": second, "weight": 1.0}]


def test_each_source_leaves_out_the_headless(workspace: Path) -> None:
    trained = ok("distill", "--each-source", *QUICK, workspace=workspace)
    assert trained.err.count(HEADLESS) == 1
    assert {path.parent.name for path in (workspace / "runs").glob("*/run.json")} == {
        f"cross-task-from-{name}-s0" for name in ("alpha", "gamma", "delta")
    }


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--weighting", "nearest", "--weighting", "p=2"),
        ("--each-source",),
        ("--draws", "2"),
        ("--objective", "heads:cross_task=0.5"),
    ],
    ids=lambda flags: " ".join(flags) or "default",
)
def test_distill_without_a_teacher_names_heads(workspace: Path, flags: tuple[str, ...]) -> None:
    result = run("distill", "--source", "beta", *flags, *QUICK, workspace=workspace)
    assert result.code == 2
    assert result.error == (
        "no source can teach by pseudo-labels: beta has no head; "
        "set --objective heads: it learns from heads on their features"
    )
    assert not (workspace / "runs").exists()


def test_teacher_of_the_same_classes_needs_a_head(workspace: Path) -> None:
    result = run("distill", "--objective", "kl", "--source", "beta", *QUICK, workspace=workspace)
    assert (result.code, result.error) == (
        2,
        "beta has no head, so it cannot teach; use --objective heads, which learns from its features",
    )


def test_ranking_without_a_teacher_has_no_weights(workspace: Path) -> None:
    result = ok("rank", "--source", "beta", "--json", "-v", workspace=workspace)
    assert [(row["rank"], row["weight"], row["teaches"]) for row in result.data] == [(1, 0, "no")]
    assert "beta: no source with a head is left, so none can teach by pseudo-labels" in result.err
    labelled = run("pseudo-label", "--source", "beta", workspace=workspace)
    assert (labelled.code, labelled.error) == (
        2,
        "no source has a head that can teach; zoo pseudo-label --head ridge fits heads on their features",
    )


def test_weights_file_passes_on_what_a_headless_source_has(workspace: Path) -> None:
    rows = [{"source": name, "weight": weight} for name, weight in (("beta", 2), ("alpha", 1), ("gamma", 3))]
    path = workspace / "mine.json"
    path.write_text(json.dumps({"sources": [*rows, {"source": "delta", "weight": 0}]}))
    result = ok("rank", "--weighting", f"file:{path}", "--json", workspace=workspace)
    assert positive(result.data) == {"alpha": 0.25, "gamma": 0.75}
    assert "beta cannot teach, without a head or collapsed: its weight 2 goes to the others" in result.err
    rows = [{"source": name, "weight": float(name == "beta")} for name in ("alpha", "beta", "gamma", "delta")]
    path.write_text(json.dumps({"sources": rows}))
    alone = run("distill", "--weighting", f"file:{path}", *QUICK, workspace=workspace)
    assert alone.code == 3
    assert alone.error.endswith("none can teach by pseudo-labels; --objective heads learns from the others")


def test_small_weights_are_dropped_as_in_the_run() -> None:
    """Only what is dropped moves the others: weights without small ones stay the same numbers."""
    names = ("a", "b", "c", "d", "e")
    scores = np.array([1.0, 0.9, 0.2, 0.8, 0.05])
    teaching = {"a": "no", "b": "yes", "c": "unknown", "d": "yes", "e": "yes"}
    method = specs.resolve("weighting", "p=6")

    def weigh(min_weight: float) -> source_weights.SourceWeights:
        return source_weights.weigh_sources(
            method, scores, names, teaching, zero_means_none=True, metric="parc", min_weight=min_weight
        )

    exact, kept = weigh(0), weigh(1e-2)
    able = [1, 2, 3, 4]
    similarity = (scores[able] - 0.05) / (0.9 - 0.05)
    np.testing.assert_allclose(exact.values[able], similarity**6 / (similarity**6).sum())
    assert exact.values[0] == 0
    assert exact.dropped == ()
    assert kept.dropped == (exact.values[2],)
    np.testing.assert_allclose(kept.values.sum(), 1)
    np.testing.assert_allclose(kept.values[1] / kept.values[3], exact.values[1] / exact.values[3])
    again = source_weights.drop_small_weights(kept.values, 1e-2)
    assert again.values.tolist() == kept.values.tolist()


def test_stored_features_by_path_may_have_a_head_elsewhere(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(40) % 4
    columns = {"id": [f"s{row}" for row in range(40)], "label": labels}
    features = (generator.standard_normal((40, 6)) + labels[:, None]).tolist()
    probs = generator.dirichlet(np.ones(3), 40).tolist()
    flags = []
    for name, more in (("encoder", {}), ("network", {"probs": probs})):
        pq.write_table(pa.table({**columns, "embedding": features, **more}), tmp_path / f"{name}.parquet")
        flags += ["--features", str(tmp_path / f"{name}.parquet")]
    rows = ok("rank", *flags, "--json", workspace=tmp_path).data
    assert {row["source"]: (row["teaches"], row["weight"]) for row in rows} == {
        "encoder": ("unknown", 0.5),
        "network": ("yes", 0.5),
    }
    ok("score", *flags, "--metric", "parc", "--out", str(tmp_path / "scores.parquet"), workspace=tmp_path)
    rows = ok("rank", "--scores", str(tmp_path / "scores.parquet"), "--json", workspace=tmp_path).data
    assert [(row["teaches"], row["weight"]) for row in rows] == [("unknown", 0.5)] * 2


def test_pseudo_labels_by_path_always_teach(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders that have the names of headless sources of the current workspace are what they hold."""
    ok("pseudo-label", workspace=workspace)
    folder = workspace / "theirs" / "source=beta"
    shutil.copytree(workspace / "pseudo/source=alpha", folder)
    monkeypatch.chdir(workspace)
    flags = ("--pseudo", str(folder), "--pseudo", str(workspace / "pseudo/source=gamma"))
    ok("distill", *flags, "--scores", "scores/parc", "--weighting", "equal", "--name", "here", *QUICK)
    weights = files.read_json(workspace / "runs/here/run.json")["weights"]
    assert positive(weights) == {"beta": 0.5, "gamma": 0.5}
