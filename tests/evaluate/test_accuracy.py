"""zoo evaluate accuracy: intervals, comparisons with the first run, groups of seeds, and what a terminal shows."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest

from tests.evaluate.test_flips import CLASSES, LABELS, OTHER, STUDENT, TEACHER, N, run_folder, write
from tests.faults.tables import listed
from tests.workspaces import run
from zoo_cli.evaluation import accuracy_intervals, flip_statistics, named_runs

COMPARISON = ("baseline", "difference", "difference_low", "difference_high", "p_value", "p_holm")
KEYS = ("run", "n", "accuracy", "balanced_accuracy", "top5", "nll", "ece", "accuracy_low", "accuracy_high", *COMPARISON)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def accuracy(*arguments: str) -> list[dict[str, Any]]:
    result = run("evaluate", "accuracy", *arguments, "--json")
    assert result.code == 0, result.err
    return list(result.data)


def test_rows_keep_their_columns_and_add_the_interval() -> None:
    (row,) = accuracy(run_folder("a", STUDENT))
    assert tuple(row) == KEYS
    expected = binomtest(int((STUDENT == LABELS).sum()), N).proportion_ci(0.9, "wilson")
    assert (row["accuracy_low"], row["accuracy_high"]) == pytest.approx((expected.low, expected.high))
    assert [row[key] for key in COMPARISON] == [None] * 6


def test_each_run_is_compared_with_the_first_in_any_order() -> None:
    files = [write(Path(f"{name}.parquet"), p) for name, p in zip("abc", (STUDENT, TEACHER, OTHER), strict=True)]
    rows = accuracy(*files)
    right = [predicted == LABELS for predicted in (STUDENT, TEACHER, OTHER)]
    for row, after in zip(rows[1:], right[1:], strict=True):
        expected = accuracy_intervals.paired_difference(right[0], after)
        assert row["baseline"] == "a.parquet"
        ends = (expected.difference, expected.low, expected.high, expected.p_value)
        assert tuple(row[key] for key in COMPARISON[1:5]) == ends
        assert row["difference"] == pytest.approx(row["accuracy"] - rows[0]["accuracy"])
    assert [row["p_holm"] for row in rows[1:]] == flip_statistics.holm([row["p_value"] for row in rows[1:]])
    back = accuracy(files[1], files[0])[1]
    assert (back["difference_low"], back["difference_high"]) == (
        -rows[1]["difference_high"],
        -rows[1]["difference_low"],
    )
    assert back["p_value"] == back["p_holm"] == rows[1]["p_value"]


def test_order_of_the_samples_does_not_matter() -> None:
    a, b = write(Path("a.parquet"), STUDENT), write(Path("b.parquet"), TEACHER)
    pq.write_table(pq.read_table(b).take(np.random.default_rng(0).permutation(N)), "shuffled.parquet")
    plain, shuffled = accuracy(a, b)[1], accuracy(a, "shuffled.parquet")[1]
    assert [plain[key] for key in COMPARISON] == [shuffled[key] for key in COMPARISON]


def test_lines_say_the_difference_its_interval_and_p() -> None:
    few = np.where(np.arange(N) == (STUDENT != LABELS).argmax(), LABELS, STUDENT)
    files = [write(Path(f"{name}.parquet"), p) for name, p in zip("abc", (STUDENT, few, TEACHER), strict=True)]
    both = run("evaluate", "accuracy", *files[:2], "--format", "table").out
    assert "\nagainst a.parquet, on the same images:\n" in both
    row = accuracy(*files[:2])[1]
    ends = "[{:+.1f}, {:+.1f}]".format(*(100 * row[key] for key in ("difference_low", "difference_high")))
    assert f"\nb.parquet: +0.4 points {ends}, p = 1.00: no difference shown\n" in both
    assert "\np: McNemar's exact test at 5 %\n" in both
    several = run("evaluate", "accuracy", *files, "--format", "table").out
    assert "p < 0.001: better" in several
    assert "corrected for 2 comparisons (Holm)" in several
    assert ": worse" in run("evaluate", "accuracy", files[2], files[0], "--format", "table").out
    alone = run("evaluate", "accuracy", files[0], "--format", "table").out
    assert "p:" not in alone
    assert "n = 240; 90 % intervals cover the choice of test images, not the training" in alone


def test_verdict_is_that_of_the_corrected_p() -> None:
    def gained(count: int, lost: int) -> np.ndarray:
        wrong, right = np.flatnonzero(STUDENT != LABELS)[:count], np.flatnonzero(STUDENT == LABELS)[:lost]
        changed = STUDENT.copy()
        changed[wrong], changed[right] = LABELS[wrong], (LABELS[right] + 1) % CLASSES
        return changed

    files = [write(Path("a.parquet"), STUDENT), *(write(Path(f"{i}.parquet"), gained(6, i)) for i in range(2))]
    rows = accuracy(*files)
    assert rows[1]["p_value"] == pytest.approx(0.03125)
    assert rows[1]["p_holm"] == pytest.approx(0.0625)
    several = run("evaluate", "accuracy", *files, "--format", "table").out
    assert "0.parquet: +2.5 points" in several
    assert "p = 0.031, 0.062 corrected: no difference shown" in several
    assert "p = 0.031: better" in run("evaluate", "accuracy", *files[:2], "--format", "table").out


def test_other_samples_are_measured_but_not_compared() -> None:
    a, b = write(Path("a.parquet"), STUDENT), write(Path("b.parquet"), TEACHER)
    pq.write_table(pq.read_table(b).slice(0, 200), "part.parquet")
    other = pq.read_table(b)
    pq.write_table(other.set_column(1, "label", pa.array((LABELS + 1) % CLASSES)), "labels.parquet")
    result = run("evaluate", "accuracy", a, "part.parquet", "labels.parquet", b, "--json")
    assert result.code == 0, result.err
    assert [row["baseline"] for row in result.data] == [None, None, None, a]
    assert result.data[1]["n"] == 200
    assert result.data[3]["p_holm"] == result.data[3]["p_value"]
    assert "2 of 4 are not compared with a.parquet: other samples or labels, e.g. part.parquet" in result.err
    table = run("evaluate", "accuracy", a, "part.parquet", "--format", "table").out
    assert table.splitlines()[0].split()[:3] == ["run", "n", "accuracy"]
    assert "n = 200 to 240" in table


def test_seeds_of_one_run_are_a_group() -> None:
    predicted = {"a-s0": STUDENT, "b-s0": TEACHER, "a-s1": OTHER}
    for name, classes in predicted.items():
        run_folder(name, classes, int(name[-1]), lr=0.1 if name[0] == "a" else 0.2)
    result = run("evaluate", "accuracy", *predicted, "--json")
    (group,) = json.loads(result.out)["meta"]["seed_groups"]
    expected = accuracy_intervals.seed_group_interval(np.stack([STUDENT == LABELS, OTHER == LABELS]))
    assert group == {
        "runs": ["a-s0", "a-s1"],
        "seeds": [0, 1],
        "accuracy": expected.mean,
        "accuracy_low": expected.low,
        "accuracy_high": expected.high,
    }
    assert "2 seeds of a-s0: mean accuracy" in run("evaluate", "accuracy", *predicted, "--format", "table").out
    assert "seed_groups" not in json.loads(run("evaluate", "accuracy", "a-s0", "b-s0", "--json").out)["meta"]
    assert "seed_groups" not in json.loads(run("evaluate", "accuracy", "a-s0", "a-s0", "--json").out)["meta"]


@pytest.mark.parametrize("classes", [2, 5, 6])
def test_top5_needs_more_than_five_classes(classes: int) -> None:
    labels = np.arange(30) % classes
    logits = np.random.default_rng(0).normal(size=(30, classes))
    columns = {"id": [f"s{i}" for i in range(30)], "label": labels, "logits": listed(logits)}
    pq.write_table(pa.table(columns), "a.parquet")
    result = run("evaluate", "accuracy", "a.parquet", "--out", "out.parquet", "--format", "table")
    titles, cells = result.out.splitlines()[:2]
    written = pq.read_table("out.parquet")
    (row,) = accuracy("a.parquet")
    assert written.to_pylist() == [row]
    types = {key: str(written.schema.field(key).type) for key in ("top5", *COMPARISON)}
    assert types == {**dict.fromkeys(types, "double"), "baseline": "string"}
    position = titles.index("top5") + 3
    if classes > 5:
        assert row["top5"] < 1
    else:
        assert row["top5"] is None
        assert cells[position] == "-"
        lines = run("evaluate", "accuracy", "a.parquet").out.splitlines()
        assert dict(zip(*(line.split("\t") for line in lines), strict=True))["top5"] == ""


def test_table_fits_on_a_terminal() -> None:
    for name in ("cross-task-parc-p12-s0", "cross-task-parc-p12-s1", "labels-only-s0"):
        write(Path("runs") / name / "predictions.parquet", LABELS)
    write(Path("runs/heads-ridge-product-s0/predictions.parquet"), STUDENT)
    lines = run("evaluate", "accuracy", "--format", "table").out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "100.0 %" in lines[1]


def test_runs_without_names_are_compared_with_labels_only(tmp_path: Path) -> None:
    for name in ("b", "a", "labels-only-s0"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "predictions.parquet").touch()
    names = [Path(run).name for run in named_runs.finished_runs(tmp_path)]
    assert names == ["labels-only-s0", "a", "b"]
