"""zoo evaluate transfer: a student before and after, its teachers, and many transfers at once."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest

from tests.evaluate import experts
from tests.evaluate.test_flips import CLASSES, LABELS, NAMES, N, answers, run_folder, write
from tests.workspaces import Result, run

BEFORE, TEACHER, OTHER = answers(0, 0.5), answers(1, 0.45, {0: 1.0, 1: 0.9}), answers(2, 0.6)


def adopted(teacher: np.ndarray, share: float, seed: int = 3) -> np.ndarray:
    """The student before, that in a share of the samples says what its teacher says."""
    return np.where(np.random.default_rng(seed).random(N) < share, teacher, BEFORE)


AFTER = adopted(TEACHER, 0.6)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, said in (("before", BEFORE), ("after", AFTER), ("teacher", TEACHER), ("other", OTHER)):
        run_folder(name, said)


def transfer(*arguments: str) -> Any:
    result = run("evaluate", "transfer", *arguments, "--json")
    assert result.code == 0, result.err
    return result.data


def test_a_transfer_is_what_a_loop_over_samples_and_classes_counts() -> None:
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


def test_a_student_that_copies_its_teacher_takes_all_and_one_that_stays_takes_nothing() -> None:
    (copy,) = transfer("before", "teacher", "--teacher", "teacher")["transfers"]
    assert (copy["teachers"][0]["transfer_rate"], copy["teachers"][0]["class_transfer_rate"]) == (1, 1)
    (same,) = transfer("before", "before", "--teacher", "teacher")["transfers"]
    assert (same["delta"], same["p"], same["outcome"]) == (0, 1, "undecided")
    assert same["teachers"][0]["transfer_rate"] == 0
    (nothing,) = transfer("before", "after", "--teacher", "before")["transfers"]
    assert nothing["teachers"][0]["transfer_rate"] is nothing["teachers"][0]["class_transfer_rate"] is None


def test_a_gain_of_its_own_counts_at_class_level_and_not_at_sample_level() -> None:
    (row,) = transfer("before", "other", "--teacher", "teacher")["transfers"]
    assert row["teachers"][0]["class_transfer_rate"] > row["teachers"][0]["transfer_rate"]


def test_many_transfers_are_counted_with_and_without_a_correction() -> None:
    better, worse = adopted(LABELS, 0.5), adopted((LABELS + 1) % CLASSES, 0.4)
    little = np.where(np.cumsum(BEFORE != LABELS) <= 6, LABELS, BEFORE)  # six gained, none lost: p = 1/32
    for name, said in (("better", better), ("worse", worse), ("little", little), ("none", BEFORE)):
        run_folder(name, said)
    data = transfer("before", "better", "worse", "little", "none", "--teacher", "teacher")
    assert [row["outcome"] for row in data["transfers"]] == ["success", "failure", "success", "undecided"]
    assert [row["outcome_holm"] for row in data["transfers"]] == ["success", "failure", "undecided", "undecided"]
    assert data["transfers"][2]["p"] == 1 / 32
    assert data["transfers"][2]["p_holm"] == 2 / 32
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


def test_teachers_are_one_for_all_one_each_or_several_for_one() -> None:
    def told(*arguments: str) -> list[list[str]]:
        rows = transfer("before", *arguments)["transfers"]
        return [[teacher["teacher"] for teacher in row["teachers"]] for row in rows]

    assert told("after", "other", "--teacher", "teacher", "--teacher", "other") == [["teacher"], ["other"]]
    assert told("after", "--teacher", "teacher", "--teacher", "other") == [["teacher", "other"]]
    assert told("after", "other", "teacher", "--teacher", "other") == [["other"]] * 3
    wrong = run("evaluate", "transfer", "before", "after", "other", "teacher", *("--teacher", "other") * 2)
    assert wrong.code == 2
    assert "2 teachers of 3 AFTER; one for all of them, or one for each" in wrong.error


def test_the_table_has_a_row_a_teacher_and_says_the_rule() -> None:
    teachers = ("--teacher", "teacher", "--teacher", "other")
    result = run("evaluate", "transfer", "before", "after", *teachers, "--out", "rows.parquet", "--format", "table")
    assert result.code == 0, result.err
    assert len([line for line in result.out.splitlines() if line.startswith("after")]) == 3
    assert "1 transfer from before: 1 success, 0 failure, 0 undecided at 5 % (McNemar's exact test)" in result.out
    rows = pq.read_table("rows.parquet").to_pylist()
    assert [row["teacher"] for row in rows] == ["teacher", "other"]
    assert rows[0]["teacher_accuracy"] == (TEACHER == LABELS).mean()
    assert rows[0]["accuracy_after"] == (AFTER == LABELS).mean()


def test_without_a_teacher_the_student_alone_is_judged_and_that_is_said() -> None:
    result = run("evaluate", "transfer", "before", "after", "--out", "answer.json", "--json")
    assert result.code == 0
    assert result.data["transfers"][0]["teachers"] == []
    assert "no teacher of after is known; --teacher names one" in result.err
    assert json.loads(Path("answer.json").read_text())["data"] == result.data


def test_files_without_names_can_be_judged(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{name}.parquet", said) for name, said in (("b", BEFORE), ("a", AFTER), ("t", TEACHER))]
    named = transfer("before", "after", "--teacher", "teacher")["transfers"][0]
    bare = transfer(paths[0], paths[1], "--teacher", paths[2])["transfers"][0]
    numbers = dict(zip(map(str, range(CLASSES)), NAMES, strict=True))
    for top in bare["teachers"][0]["top"]:
        top["classes"] = [numbers[name] for name in top["classes"]]
    assert {**bare, "after": "", "teachers": [{**bare["teachers"][0], "teacher": ""}]} == {
        **named,
        "after": "",
        "teachers": [{**named["teachers"][0], "teacher": ""}],
    }


@pytest.fixture
def taught(tmp_path: Path) -> Path:
    """A workspace with a run that two experts have taught, one after the other."""
    place = experts.make(tmp_path / "task")
    result = distil(place)
    assert result.code == 0, result.err
    return place


def distil(place: Path) -> Result:
    sources = ("--source", "expert", "--source", "mirror", "--teachers", "sequential:order=given")
    return run(
        *("distill", "--objective", "kl", "--steps", "3", "--batch-size", "8", "--augment", "none", "--name", "kl"),
        *("--lr", "0.1", "--student", f"file:{learner(place)}", *sources),
        workspace=place,
    )


def learner(place: Path) -> Path:
    """A student of the task's own classes."""
    if not (place / "runs" / "start").exists():
        quick = ("--lam", "1", "--steps", "2", "--batch-size", "8", "--augment", "none", "--name", "start")
        assert run("distill", *quick, workspace=place).code == 0
    return place / "runs" / "start"


def test_the_teachers_of_a_run_are_known_from_the_run(taught: Path) -> None:
    result = run("evaluate", "transfer", "start", "kl", "--json", workspace=taught)
    assert result.code == 0, result.err
    told = result.data["transfers"][0]
    assert [teacher["teacher"] for teacher in told["teachers"]] == ["expert", "mirror"]
    said = run("evaluate", "transfer", "start", "kl", "--teacher", "expert", "--json", workspace=taught).data
    assert told["teachers"][0] == said["transfers"][0]["teachers"][0]


def test_a_teacher_that_is_gone_is_left_out_and_that_is_said(taught: Path) -> None:
    path = taught / "zoo.toml"
    path.write_text(path.read_text().replace('name = "mirror"', 'name = "renamed"'))
    result = run("evaluate", "transfer", "start", "kl", "--json", workspace=taught)
    assert [teacher["teacher"] for teacher in result.data["transfers"][0]["teachers"]] == ["expert"]
    assert "kl names the teacher mirror, which is left out: neither a source of zoo.toml nor the same run" in result.err
    # A run that only has its name is not the teacher.
    shutil.copytree(taught / "runs" / "start", taught / "runs" / "mirror")
    again = run("evaluate", "transfer", "start", "kl", "--json", workspace=taught)
    assert again.data == result.data


def test_a_teacher_that_was_a_run_is_found_by_its_weights(taught: Path) -> None:
    quick = ("--steps", "2", "--batch-size", "8", "--augment", "none", "--name", "after")
    spec = f"file:{taught}/runs/kl"
    student = ("--student", f"file:{learner(taught)}")
    made = run("distill", "--objective", "kl", *quick, *student, "--source", spec, workspace=taught)
    assert made.code == 0, made.err
    result = run("evaluate", "transfer", "start", "after", "--json", workspace=taught)
    assert [teacher["teacher"] for teacher in result.data["transfers"][0]["teachers"]] == ["kl"]


@pytest.mark.parametrize(
    "said", ["[]", '{"teachers": 3}', '{"teachers": [{"source": "expert"}]}', '{"teachers": [{}]}']
)
def test_a_run_that_says_something_else_of_its_teachers_is_refused(taught: Path, said: str) -> None:
    (taught / "runs/kl/run.json").write_text(said)
    result = run("evaluate", "transfer", "start", "kl", workspace=taught)
    assert result.code == 3
    assert result.error == f"{taught}/runs/kl/run.json does not say what a run of zoo says"
