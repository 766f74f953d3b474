"""Labels that a feature file carries agree with the manifest's, and one contract holds for its columns everywhere."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import workspaces
from tests.shared_material import SHARED
from tests.workspaces import run
from zoo_cli.store import feature_files
from zoo_cli.store.manifest import load_manifest

DECLARED = '\n[[source]]\nname = "remote"\nmodel = "features:remote.parquet"\n'
RANDOM = np.random.default_rng(0)
QUICK = ("--steps", "2", "--batch-size", "8", "--device", "cpu")


def write(path: Path, ids: Sequence[str], label: Sequence[int | None] | None = None, **columns: np.ndarray) -> Path:
    table: dict[str, object] = {"id": list(ids)}
    if label is not None:
        table["label"] = pa.array(label, pa.int64())
    for name, values in columns.items():
        items = pa.array(np.ascontiguousarray(values).reshape(-1))
        table[name] = pa.FixedSizeListArray.from_arrays(items, values.shape[1])
    pq.write_table(pa.table(table), path)
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The small task with a source "remote" whose rows are shifted against its ids, as its own labels show."""
    place = workspaces.make(tmp_path / "task", labelled="all", test="0%")
    assert run("split", workspace=place).code == 0
    images = load_manifest(place / "manifest.parquet", place)
    labels = np.roll(images.labels, 7)
    embedding = np.eye(3)[labels] + RANDOM.normal(0, 0.1, (len(labels), 3))
    probs = RANDOM.dirichlet(np.ones(3), len(labels))
    write(place / "remote.parquet", images.ids, labels.tolist(), embedding=embedding, probs=probs)
    (place / "zoo.toml").write_text((place / "zoo.toml").read_text() + DECLARED)
    return place


def disagreement(place: Path) -> str:
    """What the error says: how many labels disagree, and which first."""
    images = load_manifest(place / "manifest.parquet", place)
    stored = {row["id"]: row["label"] for row in pq.read_table(place / "remote.parquet").to_pylist()}
    wrong = [(name, stored[name], y) for name, y in zip(images.ids, images.labels, strict=True) if stored[name] != y]
    name, label, other = wrong[0]
    return f"disagree on the label of {len(wrong)} samples, e.g. {name}: {label} and {other}"


@pytest.mark.parametrize(
    "command",
    [
        ("extract", "--source", "remote"),
        ("rank",),
        ("score", "--features", "{place}/remote.parquet", "--manifest", "{place}/manifest.parquet"),
        ("rank", "--features", "{place}/remote.parquet", "--manifest", "{place}/manifest.parquet"),
        ("pseudo-label", "--source", "remote"),
        ("pseudo-label", "--head", "ridge", "--source", "remote"),
        ("distill", *QUICK),
        ("score", "--metric", "rsa-ref", "--source", "alpha", "--reference", "{place}/remote.parquet"),
        ("distill", "--pseudo", "{place}/remote.parquet", "--weighting", "equal", *QUICK),
    ],
    ids=lambda command: "-".join(word for word in command[:4] if "/" not in word),
)
def test_labels_that_disagree_break_the_contract(command: tuple[str, ...], place: Path) -> None:
    result = run(*(word.format(place=place) for word in command), workspace=place)
    assert result.code == 3, result.err
    assert disagreement(place) in result.error
    assert str(place / "remote.parquet") in result.error


def test_samples_without_a_label_are_not_compared(place: Path) -> None:
    images = load_manifest(place / "manifest.parquet", place)
    values = RANDOM.normal(size=(len(images), 3))
    labels = [int(label) if row % 2 else None for row, label in enumerate(images.labels)]
    write(place / "remote.parquet", images.ids, labels, embedding=values)
    assert run("extract", "--source", "remote", workspace=place).code == 0
    labels[1] = (int(images.labels[1]) + 1) % 3
    write(place / "remote.parquet", images.ids, labels, embedding=values)
    result = run("extract", "--source", "remote", "--overwrite", workspace=place)
    assert result.code == 3
    assert "disagree on the label of 1 samples" in result.error


def test_unlabelled_images_have_no_label_to_compare(tmp_path: Path) -> None:
    """The known labels of unlabelled and test images are read by evaluation alone."""
    place = workspaces.make(tmp_path / "task", upto="split")
    images = load_manifest(place / "manifest.parquet", place)
    labels = [int(label) if label >= 0 else 0 for label in images.labels]
    write(place / "remote.parquet", images.ids, labels, embedding=RANDOM.normal(size=(len(images), 3)))
    (place / "zoo.toml").write_text((place / "zoo.toml").read_text() + DECLARED)
    assert run("extract", "--source", "remote", workspace=place).code == 0


@pytest.mark.skipif(SHARED is None or not (SHARED / "cases").exists(), reason="no shared cases")
def test_the_shifted_rows_of_a_user_are_refused(tmp_path: Path) -> None:
    assert SHARED is not None
    place = tmp_path / "work"
    subprocess.run([sys.executable, SHARED / "cases/09-label-conflict/make.py", place], check=True)
    assert run("split", workspace=place).code == 0
    subprocess.run([sys.executable, "after_split.py"], cwd=place, check=True)
    for command in (("rank",), ("score", "--features", str(place / "shifted.parquet"), "--metric", "parc")):
        extra = ("--manifest", str(place / "manifest.parquet")) if "--features" in command else ()
        result = run(*command, *extra, workspace=place)
        assert result.code == 3
        assert "disagree on the label of" in result.error


HALF = RANDOM.dirichlet(np.full(1000, 0.05), 40).astype(np.float16)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_one_tolerance_for_probabilities(kind: type, tmp_path: Path) -> None:
    """Rounded to float16 and stored in any type, they pass every reader."""
    assert (np.abs(HALF.astype(np.float64).sum(axis=1) - 1) > 1e-3).sum() == 0
    probs = (HALF * np.float16(0.994)).astype(kind)
    sums = probs.astype(np.float64).sum(axis=1)
    assert 1e-3 < np.abs(sums - 1).max() < 1e-2
    labels = (np.arange(40) % 2).tolist()
    file = write(tmp_path / "a.parquet", [f"x{i}" for i in range(40)], labels, probs=probs)
    for metric in ("leep", "nce", "parc"):
        assert run("score", "--features", str(file), "--metric", metric, "--on", "probs").code == 0
    assert run("pseudo-label", "--features", str(file), "--out", str(tmp_path / f"p-{metric}")).code == 0
    assert run("evaluate", "accuracy", str(file)).code == 0
    read = feature_files.load_outputs(file).probabilities()
    assert read is not None
    np.testing.assert_allclose(read.sum(axis=1), 1, atol=1e-3)


def test_rows_that_are_no_distribution_are_refused_everywhere(tmp_path: Path) -> None:
    probs = np.full((40, 4), 0.25) * 0.98
    file = write(tmp_path / "a.parquet", [f"x{i}" for i in range(40)], (np.arange(40) % 2).tolist(), probs=probs)
    commands = (
        ("score", "--features", str(file), "--metric", "leep", "--on", "probs"),
        ("pseudo-label", "--features", str(file), "--out", str(tmp_path / "p")),
        ("evaluate", "accuracy", str(file)),
    )
    for command in commands:
        result = run(*command)
        assert result.code == 3
        assert "probabilities of 40 rows do not sum to 1" in result.error


def test_scores_are_joined_by_id_and_read_per_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids, labels = [f"x{i:02}" for i in range(40)], np.arange(40) % 2
    paths, values = [], {}
    for name in ("a", "b", "c"):
        order = RANDOM.permutation(40)
        values[name] = np.eye(2)[labels] + RANDOM.normal(0, 0.5, (40, 2))
        file = write(
            tmp_path / f"{name}.parquet", [ids[i] for i in order], labels[order].tolist(), embedding=values[name][order]
        )
        paths += ["--features", str(file)]
    calls: list[str] = []
    load = feature_files.load_outputs

    def spy(path: Path, **options: object) -> feature_files.StoredOutputs:
        outputs = load(path, **options)  # type: ignore[arg-type]
        calls.append(f"{path.stem}:{'values' if outputs.embedding is not None else 'labels'}")
        return outputs

    monkeypatch.setattr(feature_files, "load_outputs", spy)
    together = run("score", *paths, "--metric", "parc", "--json")
    assert calls[:3] == ["a:labels", "b:labels", "c:labels"]
    assert sorted(calls[3:]) == ["a:values", "b:values", "c:values"]  # side by side
    for row in together.data:
        sorted_file = write(tmp_path / "sorted.parquet", ids, labels.tolist(), embedding=values[row["source"]])
        alone = run("score", "--features", str(sorted_file), "--metric", "parc", "--json").data[0]
        assert (alone["value"], alone["low"], alone["high"]) == (row["value"], row["low"], row["high"])
