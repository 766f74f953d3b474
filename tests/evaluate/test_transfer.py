"""zoo evaluate transfer: a student before and after, its teachers, and many transfers at once."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest

from tests.evaluate import task_models
from tests.evaluate.test_flips import CLASSES, LABELS, NAMES, N, predict, run_folder, write
from tests.workspaces import Result, run, sign_run

BEFORE, TEACHER, OTHER = predict(0, 0.5), predict(1, 0.45, {0: 1.0, 1: 0.9}), predict(2, 0.6)


def adopted(teacher: np.ndarray, share: float, seed: int = 3) -> np.ndarray:
    """The student before, with the teacher's prediction on a share of the samples."""
    return np.where(np.random.default_rng(seed).random(N) < share, teacher, BEFORE)


AFTER = adopted(TEACHER, 0.6)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, predicted in (("before", BEFORE), ("after", AFTER), ("teacher", TEACHER), ("other", OTHER)):
        run_folder(name, predicted)


def transfer(*arguments: str) -> Any:
    result = run("evaluate", "transfer", *arguments, "--json")
    assert result.code == 0, result.err
    return result.data


def test_transfer_matches_a_loop_over_samples() -> None:
    data = transfer("before", "after", "--teacher", "teacher")
    (row,) = data["transfers"]
    gained, lost, offered, taken = ([0] * CLASSES for _ in range(4))
    for y, b, a, t in zip(LABELS, BEFORE, AFTER, TEACHER, strict=True):
        gained[y] += b != y and a == y
        lost[y] += b == y and a != y
        offered[y] += b != y and t == y
        taken[y] += b != y and t == y and a == y
    assert (row["gained"], row["lost"]) == (sum(gained), sum(lost))
    assert row["delta"] == (sum(gained) - sum(lost)) / N
    assert np.isclose(row["delta"], row["gain"] - row["loss"])
    assert np.isclose(row["delta"], row["accuracy_after"] - row["accuracy_before"])
    assert np.isclose(row["p"], binomtest(sum(gained), sum(gained) + sum(lost)).pvalue)
    (teacher,) = row["teachers"]
    assert teacher["complementary"] == sum(offered) / N
    assert teacher["transfer_rate"] == sum(taken) / sum(offered)
    offering = [c for c in range(CLASSES) if offered[c]]
    assert teacher["class_transfer_rate"] == sum(gained[c] for c in offering) / sum(offered)
    order = sorted(range(CLASSES), key=lambda c: (-offered[c], c))
    assert [top["share"] for top in teacher["top"]] == [2, 5, 20, 50, 100]
    for top in teacher["top"]:
        chosen = order[: top["count"]]
        assert top["classes"] == [NAMES[c] for c in chosen]
        assert top["offered"] == sum(offered[c] for c in chosen) >= top["share"] / 100 * sum(offered)
        assert top["transfer_rate"] == sum(taken[c] for c in chosen) / top["offered"]
        assert top["class_transfer_rate"] == sum(gained[c] for c in chosen) / top["offered"]
    assert np.isclose(row["delta"], teacher["neg_flips_delta"] - teacher["pos_flips_delta"])


def test_copy_takes_all_and_unchanged_takes_nothing() -> None:
    (copy,) = transfer("before", "teacher", "--teacher", "teacher")["transfers"]
    assert (copy["teachers"][0]["transfer_rate"], copy["teachers"][0]["class_transfer_rate"]) == (1, 1)
    (same,) = transfer("before", "before", "--teacher", "teacher")["transfers"]
    assert (same["delta"], same["p"], same["outcome"]) == (0, 1, "undecided")
    assert same["teachers"][0]["transfer_rate"] == 0
    (nothing,) = transfer("before", "after", "--teacher", "before")["transfers"]
    assert nothing["teachers"][0]["transfer_rate"] is nothing["teachers"][0]["class_transfer_rate"] is None


def test_own_gain_counts_at_class_level_only() -> None:
    (row,) = transfer("before", "other", "--teacher", "teacher")["transfers"]
    assert row["teachers"][0]["class_transfer_rate"] > row["teachers"][0]["transfer_rate"]


def test_outcomes_are_counted_with_and_without_holm() -> None:
    better, worse = adopted(LABELS, 0.5), adopted((LABELS + 1) % CLASSES, 0.4)
    little = np.where(np.cumsum(BEFORE != LABELS) <= 6, LABELS, BEFORE)  # six gained, none lost: p = 1/32
    for name, predicted in (("better", better), ("worse", worse), ("little", little), ("none", BEFORE)):
        run_folder(name, predicted)
    data = transfer("before", "better", "worse", "little", "none", "--teacher", "teacher")
    assert [row["outcome"] for row in data["transfers"]] == ["success", "failure", "success", "undecided"]
    assert [row["outcome_holm"] for row in data["transfers"]] == ["success", "failure", "undecided", "undecided"]
    assert data["transfers"][2]["p"] == 1 / 32
    assert data["transfers"][2]["p_holm"] == 2 / 32
    assert data["summary"].pop("strengths")
    assert data["summary"] == {
        "transfers": 4,
        "success": 2,
        "failure": 1,
        "undecided": 1,
        "holm": {"success": 1, "failure": 1, "undecided": 2},
        "success_rate": 0.5,
        "mean_delta": pytest.approx(np.mean([row["delta"] for row in data["transfers"]])),
    }
    assert [[teacher["teacher"] for teacher in row["teachers"]] for row in data["transfers"]] == [["teacher"]] * 4


def test_teachers_for_all_for_each_or_for_one() -> None:
    def teachers(*arguments: str) -> list[list[str]]:
        rows = transfer("before", *arguments)["transfers"]
        return [[teacher["teacher"] for teacher in row["teachers"]] for row in rows]

    assert teachers("after", "other", "--teacher", "teacher", "--teacher", "other") == [["teacher"], ["other"]]
    assert teachers("after", "--teacher", "teacher", "--teacher", "other") == [["teacher", "other"]]
    assert teachers("after", "other", "teacher", "--teacher", "other") == [["other"]] * 3
    wrong = run("evaluate", "transfer", "before", "after", "other", "teacher", *("--teacher", "other") * 2)
    assert wrong.code == 2
    assert "2 teachers for 3 AFTER; one for all of them, or one for each" in wrong.error


def test_table_has_a_row_per_teacher() -> None:
    teachers = ("--teacher", "teacher", "--teacher", "other")
    result = run("evaluate", "transfer", "before", "after", *teachers, "--out", "rows.parquet", "--format", "table")
    assert result.code == 0, result.err
    assert len([line for line in result.out.splitlines() if line.startswith("after")]) == 9  # three tables
    assert "1 transfer from before: 1 success, 0 failure, 0 undecided at 5 % (McNemar's exact test)" in result.out
    rows = pq.read_table("rows.parquet").to_pylist()
    assert [row["teacher"] for row in rows] == ["teacher", "other"]
    assert rows[0]["teacher_accuracy"] == (TEACHER == LABELS).mean()
    assert rows[0]["accuracy_after"] == (AFTER == LABELS).mean()


def test_strength_and_ceiling_match_a_loop_over_samples(tmp_path: Path) -> None:
    strong = adopted(LABELS, 0.5, seed=8)
    weak = np.where(np.random.default_rng(9).random(N) < 0.5, (LABELS + 1) % CLASSES, BEFORE)
    run_folder("strong", strong)
    run_folder("weak", weak)
    rng = np.random.default_rng(4)
    soft = {name: rng.normal(size=(N, CLASSES)) * 2 for name in ("soft before", "soft teacher")}
    for name, logits in soft.items():
        table = {"id": [f"s{i}" for i in range(N)], "label": LABELS, "logits": logits.tolist()}
        pq.write_table(pa.table(table), tmp_path / f"{name}.parquet")
    places = {
        name: transfer("before", "after", "--teacher", name)["transfers"][0]["teachers"][0]
        for name in ("strong", "weak", "before")
    }
    assert {name: place["strength"] for name, place in places.items()} == {
        "strong": "stronger",
        "weak": "weaker",
        "before": "equal",
    }
    for name, predicted in (("strong", strong), ("weak", weak)):
        only_before, only_teacher = ((BEFORE == LABELS) & (predicted != LABELS)).sum(), 0
        for y, b, t in zip(LABELS, BEFORE, predicted, strict=True):
            only_teacher += b != y and t == y
        assert places[name]["strength_p"] == pytest.approx(binomtest(only_teacher, only_teacher + only_before).pvalue)
    place = transfer("soft before.parquet", "after", "--teacher", "soft teacher.parquet")["transfers"][0]["teachers"][0]
    right = 0
    for y, a, b in zip(LABELS, soft["soft before"], soft["soft teacher"], strict=True):
        mean = [np.exp(a[c]) / sum(np.exp(a)) + np.exp(b[c]) / sum(np.exp(b)) for c in range(CLASSES)]
        right += mean.index(max(mean)) == y
    assert place["ensemble_accuracy"] == right / N
    alone = (soft["soft before"].argmax(axis=1) == LABELS).mean()
    assert place["ensemble_delta"] == pytest.approx(right / N - alone)


def test_success_rate_by_strength() -> None:
    strong, weak = adopted(LABELS, 0.5, seed=8), adopted((LABELS + 1) % CLASSES, 0.5, seed=9)
    for name, predicted in (("strong", strong), ("weak", weak), ("worse", adopted((LABELS + 1) % CLASSES, 0.4))):
        run_folder(name, predicted)
    teachers = [word for name in ("strong", "weak", "weak") for word in ("--teacher", name)]
    arguments = ("before", "strong", "after", "worse", *teachers)
    data = transfer(*arguments)
    deltas = {row["after"]: row["delta"] for row in data["transfers"]}
    rows = {row["strength"]: row for row in data["summary"]["strengths"]}
    assert list(rows) == ["weaker", "equal", "stronger"]
    assert [rows[name]["transfers"] for name in rows] == [2, 0, 1]
    assert [rows[name]["success_rate"] for name in rows] == [0.5, None, 1.0]
    assert rows["weaker"]["mean_delta"] == pytest.approx((deltas["after"] + deltas["worse"]) / 2)
    assert (rows["weaker"]["success"], rows["weaker"]["failure"], rows["equal"]["undecided"]) == (1, 1, 0)
    table = run("evaluate", "transfer", *arguments, "--format", "md")
    lines = table.out.splitlines()
    start = lines.index("transfers by the strength of the teacher")
    assert lines[start + 4].startswith("| weaker | 2 | 50.0 % | 1 | 1 | 0 |")
    assert lines[start + 5] == "| equal | 0 | - | 0 | 0 | 0 | - | - |"


def test_without_teacher_only_the_student_is_compared() -> None:
    result = run("evaluate", "transfer", "before", "after", "--out", "answer.json", "--json")
    assert result.code == 0
    assert result.data["transfers"][0]["teachers"] == []
    assert "no teacher of after is known; --teacher names one" in result.err
    assert json.loads(Path("answer.json").read_text())["data"] == result.data


def test_files_without_class_names_can_be_compared(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / f"{name}.parquet", predicted)
        for name, predicted in (("b", BEFORE), ("a", AFTER), ("t", TEACHER))
    ]
    named = transfer("before", "after", "--teacher", "teacher")["transfers"][0]
    unnamed = transfer(paths[0], paths[1], "--teacher", paths[2])["transfers"][0]
    numbers = dict(zip(map(str, range(CLASSES)), NAMES, strict=True))
    for top in unnamed["teachers"][0]["top"]:
        top["classes"] = [numbers[name] for name in top["classes"]]
    assert {**unnamed, "after": "", "teachers": [{**unnamed["teachers"][0], "teacher": ""}]} == {
        **named,
        "after": "",
        "teachers": [{**named["teachers"][0], "teacher": ""}],
    }


@pytest.fixture
def transferred(tmp_path: Path) -> Path:
    """A workspace with a run that learned from two teachers, one after the other."""
    place = task_models.make(tmp_path / "task")
    result = distill(place)
    assert result.code == 0, result.err
    return place


def distill(place: Path) -> Result:
    sources = ("--source", "expert", "--source", "mirror", "--teachers", "sequential:order=given")
    return run(
        *("distill", "--objective", "kl", "--steps", "3", "--batch-size", "8", "--augment", "none", "--name", "kl"),
        *("--lr", "0.1", "--student", f"file:{train_student(place)}", *sources),
        workspace=place,
    )


def train_student(place: Path) -> Path:
    """A student of the task's own classes, trained once."""
    if not (place / "runs" / "start").exists():
        quick = ("--lam", "1", "--steps", "2", "--batch-size", "8", "--augment", "none", "--name", "start")
        assert run("distill", *quick, workspace=place).code == 0
    return place / "runs" / "start"


def test_teachers_are_read_from_the_run(transferred: Path) -> None:
    result = run("evaluate", "transfer", "start", "kl", "--json", workspace=transferred)
    assert result.code == 0, result.err
    row = result.data["transfers"][0]
    assert [teacher["teacher"] for teacher in row["teachers"]] == ["expert", "mirror"]
    named = run("evaluate", "transfer", "start", "kl", "--teacher", "expert", "--json", workspace=transferred).data
    assert row["teachers"][0] == named["transfers"][0]["teachers"][0]


def test_missing_teacher_is_left_out(transferred: Path) -> None:
    path = transferred / "zoo.toml"
    path.write_text(path.read_text().replace('name = "mirror"', 'name = "renamed"'))
    result = run("evaluate", "transfer", "start", "kl", "--json", workspace=transferred)
    assert [teacher["teacher"] for teacher in result.data["transfers"][0]["teachers"]] == ["expert"]
    assert (
        "kl names the teacher mirror, which is left out: it is no longer a source of zoo.toml or the same run"
        in result.err
    )
    # A run that only shares its name is not the teacher.
    shutil.copytree(transferred / "runs" / "start", transferred / "runs" / "mirror")
    again = run("evaluate", "transfer", "start", "kl", "--json", workspace=transferred)
    assert again.data == result.data


def test_teacher_run_is_recognised_by_its_weights(transferred: Path) -> None:
    quick = ("--steps", "2", "--batch-size", "8", "--augment", "none", "--name", "after")
    spec = f"file:{transferred}/runs/kl"
    student = ("--student", f"file:{train_student(transferred)}")
    distilled = run("distill", "--objective", "kl", *quick, *student, "--source", spec, workspace=transferred)
    assert distilled.code == 0, distilled.err
    result = run("evaluate", "transfer", "start", "after", "--json", workspace=transferred)
    assert [teacher["teacher"] for teacher in result.data["transfers"][0]["teachers"]] == ["kl"]


@pytest.mark.parametrize(
    "content", ["[]", '{"teachers": 3}', '{"teachers": [{"source": "expert"}]}', '{"teachers": [{}]}']
)
def test_broken_run_record_is_refused(transferred: Path, content: str) -> None:
    (transferred / "runs/kl/run.json").write_text(content)
    sign_run(transferred / "runs/kl")
    result = run("evaluate", "transfer", "start", "kl", workspace=transferred)
    assert result.code == 3
    assert result.error.startswith(f"{transferred}/runs/kl/run.json")
    assert result.error.endswith("; make the run again with --overwrite")
