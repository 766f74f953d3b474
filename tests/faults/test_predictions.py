"""Predictions and pseudo-labels from files: evaluate accuracy, evaluate flips, distill without a zoo.toml."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.faults.tables import CLASSES, IDS, LABELS, PROBS, SAMPLES, VALUES, listed, shuffled, table
from tests.workspaces import run, write_class_names

Make = Callable[..., Path]
QUICK = ("--steps", "2", "--batch-size", "8", "--augment", "none")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_accuracy_of_logits_and_probs_of_any_list_type(tmp_path: Path) -> None:
    expected = (VALUES.argmax(1) == LABELS).mean()
    for number, columns in enumerate(
        (
            {"logits": VALUES},
            {"probs": listed(PROBS, "large", "float64")},
            {"probs": listed(PROBS, "fixed", "float16"), "note": ["?"] * SAMPLES},
            {"logits": listed(shuffled(VALUES), "fixed", "float64"), "id": shuffled(IDS), "label": shuffled(LABELS)},
        )
    ):
        path = table(tmp_path / f"{number}.parquet", **columns)
        result = run("evaluate", "accuracy", str(path), "--json")
        assert result.code == 0, result.err
        assert result.data[0]["accuracy"] == pytest.approx(expected)
        assert (result.data[0]["run"], result.data[0]["n"]) == (str(path), SAMPLES)


def test_flips_join_by_id_in_any_order(tmp_path: Path) -> None:
    before = table(tmp_path / "before.parquet", logits=np.eye(CLASSES)[(LABELS + (np.arange(SAMPLES) < 6)) % CLASSES])
    right = np.eye(CLASSES)[(LABELS + (np.arange(SAMPLES) >= 22)) % CLASSES]
    after = table(tmp_path / "after.parquet", id=shuffled(IDS), label=shuffled(LABELS), logits=shuffled(right))
    result = run("evaluate", "flips", str(before), str(after), "--json")
    assert result.code == 0, result.err
    assert (result.data["n"], result.data["positive"], result.data["negative"]) == (SAMPLES, 6, 2)
    unlabelled = table(tmp_path / "unlabelled.parquet", label=None, logits=right)
    assert run("evaluate", "flips", str(before), str(unlabelled), "--json").data == result.data


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"id": IDS[:20], "label": LABELS[:20], "logits": VALUES[:20]},
            "4 of {before} are missing in {after}, 0 are extra",
        ),
        (
            {"id": [*IDS, "more"], "label": [*LABELS, 0], "logits": np.concatenate([VALUES, VALUES[:1]])},
            "0 of {before} are missing in {after}, 1 are extra, e.g. more",
        ),
        ({"id": [f"t{n}" for n in IDS], "logits": VALUES}, "24 of {before} are missing in {after}, 24 are extra"),
        ({"label": (LABELS + 1) % CLASSES, "logits": VALUES}, "disagree on the label of 24 samples, e.g. s00"),
        ({"logits": VALUES[:, :2]}, "{after} has 2 classes, {before} has 3"),
        ({"logits": np.where(LABELS[:, None] == 1, np.nan, VALUES)}, "column logits is not finite"),
        ({"probs": PROBS * 2}, "do not sum to 1"),
        ({"id": [IDS[0], *IDS[:-1]], "logits": VALUES}, "1 ids repeat"),
        ({"embedding": VALUES}, "has neither logits nor probs"),
        ({"label": [f"c{n}" for n in LABELS], "logits": VALUES}, "column label is string"),
    ],
    ids=["fewer", "more", "others", "labels", "classes", "NaN", "sums", "repeated", "no logits", "text"],
)
def test_incomparable_predictions_are_refused(tmp_path: Path, columns: dict[str, object], message: str) -> None:
    before = table(tmp_path / "before.parquet", logits=VALUES)
    after = table(tmp_path / "after.parquet", **columns)
    result = run("evaluate", "flips", str(before), str(after))
    assert result.code == 3
    assert message.format(before=before, after=after) in result.error


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": None, "logits": VALUES}, "has no labels"),
        (
            {"id": pa.array([], pa.string()), "label": pa.array([], pa.int64()), "logits": listed(VALUES[:0])},
            "no labels",
        ),
        ({"logits": VALUES[:, :2]}, "label 2 is outside its 2 classes"),
    ],
    ids=["none", "no rows", "outside"],
)
def test_accuracy_needs_labels_within_the_classes(tmp_path: Path, columns: dict[str, object], message: str) -> None:
    result = run("evaluate", "accuracy", str(table(tmp_path / "theirs.parquet", **columns)))
    assert result.code == 3
    assert message in result.error


def test_unlabelled_samples_are_left_out_and_counted(tmp_path: Path) -> None:
    path = table(tmp_path / "theirs.parquet", label=[None] * 4 + LABELS[4:].tolist(), logits=VALUES)
    result = run("evaluate", "accuracy", str(path), "--json")
    assert result.data[0]["n"] == SAMPLES - 4
    assert "4 samples without a label are left out" in result.err


def test_missing_files_are_wrong_usage(tmp_path: Path, workspace: Make) -> None:
    assert "no file at nowhere" in run("evaluate", "accuracy", "nowhere").error
    assert "no finished run in" in run("evaluate", "accuracy", workspace=workspace()).error
    (tmp_path / "run").mkdir()
    stopped = run("evaluate", "flips", "run", "run")
    assert stopped.code == 2
    assert "no run folder with predictions.parquet at run" in stopped.error


@pytest.mark.parametrize("name", ["answer.json", "answer.parquet"])
def test_answer_is_written_to_out(tmp_path: Path, name: str) -> None:
    path = table(tmp_path / "theirs.parquet", logits=VALUES)
    result = run("evaluate", "accuracy", str(path), "--out", f"deep/{name}", "--json")
    assert result.code == 0
    out = tmp_path / "deep" / name
    content = json.loads(out.read_text())["data"] if name.endswith("json") else pq.read_table(out).to_pylist()
    assert content == result.data
    wrong = run("evaluate", "accuracy", str(path), "--out", "answer.txt")
    assert wrong.code == 2
    assert "its name must end in .parquet or .json" in wrong.error


@pytest.fixture
def from_files(tmp_path: Path, workspace: Make) -> tuple[str, ...]:
    """A distill from files: another workspace's manifest, pseudo-labels and, as the student, a finished run."""
    place = workspace(upto="pseudo-label")
    # The student's architecture is the user's code: its folder names the file and does not hold it.
    shutil.copy(place / "models.py", tmp_path)
    trained = run("distill", "--lam", "1", *QUICK, "--out", str(tmp_path / "start"), workspace=place)
    assert trained.code == 0, trained.err
    sources = (text for name in ("alpha", "beta") for text in ("--pseudo", str(place / "pseudo" / f"source={name}")))
    student = ("--student", f"file:{tmp_path}/start", "--trust", f"{tmp_path}/start")
    return ("--manifest", str(place / "manifest.parquet"), *sources, *student, *QUICK)


def test_student_is_distilled_from_files(tmp_path: Path, from_files: tuple[str, ...]) -> None:
    result = run("distill", *from_files, "--weighting", "equal", "--out", "out", "--json")
    assert result.code == 0, result.err
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["weights"] == [{"source": "alpha", "weight": 0.5}, {"source": "beta", "weight": 0.5}]
    assert run("evaluate", "flips", "start", "out").code == 0
    assert "up to date" in run("distill", *from_files, "--weighting", "equal", "--out", "out").err


def test_pseudo_labels_from_files_need_scores_or_equal(from_files: tuple[str, ...], workspace: Make) -> None:
    refused = run("distill", *from_files, "--weighting", "p=2", "--out", "out")
    assert refused.code == 2
    assert "--weighting p=2 needs scores; give --scores, or use --weighting equal" in refused.error
    scores = workspace(upto="score") / "scores" / "parc"
    result = run("distill", *from_files, "--weighting", "p=2", "--scores", str(scores), "--out", "out")
    assert result.code == 0, result.err
    assert "from beta 1.00" in result.err


def test_pseudo_labels_need_the_ids_of_the_manifest(tmp_path: Path, from_files: tuple[str, ...]) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    table(theirs / "part.parquet", label=None, probs=PROBS)
    pseudo = from_files.index("--pseudo")
    wrong = (*from_files[:pseudo], "--pseudo", str(theirs), *from_files[pseudo + 4 :])
    result = run("distill", *wrong, "--weighting", "equal", "--out", "out")
    assert result.code == 3
    assert f"{theirs} lacks 30 of 30 ids of the manifest" in result.error


def test_label_outside_the_classes_is_refused(workspace: Make) -> None:
    place = workspace(upto="split")
    write_class_names(place, ["blue", "green"])
    result = run("distill", "--lam", "1", *QUICK, workspace=place)
    assert result.code == 3
    assert f"label 2 is outside the 2 classes of {place / 'classes.json'}" in result.error
    (place / "classes.json").write_text('{"names": "blue"}', encoding="utf-8")
    assert "zoo split writes it beside the manifest" in run("distill", "--lam", "1", *QUICK, workspace=place).error
