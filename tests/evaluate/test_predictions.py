"""Models evaluated by name: run on the test images once, in the order of the task's classes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests import workspaces
from tests.evaluate import task_models
from tests.faults.tables import table
from tests.workspaces import edit, run


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return task_models.make(tmp_path / "task")


def stored(place: Path, name: str) -> dict[str, np.ndarray]:
    rows = pq.read_table(place / "predictions" / f"source={name}.parquet").to_pylist()
    return {key: np.array([row[key] for row in rows]) for key in ("id", "label", "logits")}


def measures(row: dict[str, Any]) -> dict[str, Any]:
    """A row without its name and its comparison."""
    return {key: row[key] for key in tuple(row)[1:9]}


def test_source_is_run_on_the_test_images_only(place: Path) -> None:
    result = run("evaluate", "accuracy", "expert", "--json", workspace=place)
    assert result.code == 0, result.err
    predicted = stored(place, "expert")
    manifest = [row for row in pq.read_table(place / "manifest.parquet").to_pylist() if row["split"] == "test"]
    assert predicted["id"].tolist() == [row["id"] for row in manifest]
    assert predicted["label"].tolist() == [row["truth"] for row in manifest]
    expected = []
    for row in manifest:
        # What the network computes, by hand: the mean of every second pixel of each colour, blue first.
        x = (np.asarray(Image.open(place / row["path"]).convert("RGB"), float) / 255 - 0.5) / 0.25
        expected.append(np.maximum(x[::2, ::2, ::-1] + 1, 0).mean((0, 1)))
    assert np.allclose(predicted["logits"], expected, atol=1e-5)
    right = (np.array(expected).argmax(1) == predicted["label"]).mean()
    assert result.data == [{**result.data[0], "run": "expert", "n": 18, "accuracy": right}]
    assert not (place / "features").exists()


def test_classes_are_aligned_by_name(place: Path) -> None:
    rows = run("evaluate", "accuracy", "expert", "mirror", "--json", workspace=place).data
    assert measures(rows[0]) == measures(rows[1])
    assert (rows[1]["baseline"], rows[1]["difference"], rows[1]["p_value"]) == ("expert", 0, 1)
    assert np.array_equal(stored(place, "expert")["logits"], stored(place, "mirror")["logits"])


def test_several_runs_have_a_mean_accuracy(place: Path) -> None:
    several = run("evaluate", "accuracy", "expert", "noisy", "--json", workspace=place)
    mean = sum(row["accuracy"] for row in several.data) / 2
    assert json.loads(several.out)["meta"] == {"mean_accuracy": pytest.approx(mean)}
    assert json.loads(run("evaluate", "accuracy", "expert", "--json", workspace=place).out)["meta"] == {}


def test_unnamed_classes_are_taken_in_order(place: Path) -> None:
    result = run("evaluate", "accuracy", "plain", "--json", workspace=place)
    assert result.data[0]["accuracy"] > 0.8
    assert "class names of plain are not known: they are taken to be the task's, in order" in result.err


@pytest.mark.parametrize("name", ["student", "@student"])
def test_student_can_be_evaluated_before_training(place: Path, name: str) -> None:
    result = run("evaluate", "accuracy", name, "--json", workspace=place)
    assert result.code == 0, result.err
    assert result.data[0]["run"] == name
    assert (place / "predictions" / "source=@student.parquet").exists()


def test_stored_predictions_are_reused(place: Path) -> None:
    first = run("evaluate", "accuracy", "noisy", "--json", workspace=place)
    assert "running noisy on 18 test images" in first.err
    again = run("evaluate", "accuracy", "noisy", "--json", workspace=place)
    assert "running" not in again.err
    assert again.data == first.data


def test_changed_weights_or_images_repeat_predictions(place: Path) -> None:
    before = run("evaluate", "accuracy", "noisy", "--json", workspace=place).data
    (place / "noisy.safetensors").write_bytes((place / "expert.safetensors").read_bytes())
    repeated = run("evaluate", "accuracy", "noisy", "--json", workspace=place)
    assert "was made from other inputs: source; it is made again" in repeated.err
    assert repeated.data[0]["accuracy"] > before[0]["accuracy"]
    edit(place, 'test = "50%"', 'test = "30%"')
    assert run("split", "--overwrite", workspace=place).code == 0
    fewer = run("evaluate", "accuracy", "noisy", "--json", workspace=place)
    assert "was made from other inputs: labels, test images; it is made again" in fewer.err
    assert fewer.data[0]["n"] == 12


def test_changed_class_order_repeats_predictions(place: Path) -> None:
    run("evaluate", "accuracy", "noisy", workspace=place)
    path = place / "zoo.toml"
    head, _, tail = path.read_text().partition('name = "noisy"')
    path.write_text(head + 'name = "noisy"' + tail.replace("['blue', 'green', 'red']", "['red', 'green', 'blue']"))
    assert "other inputs: source" in run("evaluate", "accuracy", "noisy", workspace=place).err


def test_damaged_predictions_are_repeated(place: Path) -> None:
    first = run("evaluate", "accuracy", "noisy", "--json", workspace=place)
    (place / "predictions" / "source=noisy.parquet").write_bytes(b"torn")
    again = run("evaluate", "accuracy", "noisy", "--json", workspace=place)
    assert "it is made again" in again.err
    assert again.data == first.data


def test_run_by_folder_equals_run_as_model(place: Path) -> None:
    trained = run(
        "distill",
        "--lam",
        "1",
        "--steps",
        "2",
        "--batch-size",
        "8",
        "--augment",
        "none",
        "--name",
        "a",
        workspace=place,
    )
    assert trained.code == 0, trained.err
    by_folder, by_model = run("evaluate", "accuracy", "a", f"file:{place}/runs/a", "--json", workspace=place).data
    assert measures(by_model) == measures(by_folder)
    assert by_folder["run"] == "a"


def test_existing_path_wins_over_a_source_name(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    table(place / "expert")
    result = run("evaluate", "accuracy", "expert", "--json", workspace=place)
    assert result.code == 3
    assert "has neither logits nor probs" in result.error
    assert not (place / "predictions").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("alpha", "alpha has 4 classes"),
        ("nobody", "no file at nobody, and no source of this name"),
        ("tensorhub:resnet18", 'no model provider "tensorhub"'),
        ("torchvision:resnet18", "torchvision:resnet18 has no weights"),
        ("features:theirs.parquet", "holds stored features, not a model"),
        ("file:nowhere", 'no model in "'),
    ],
)
def test_unknown_or_unfit_model_is_wrong_usage(place: Path, name: str, message: str) -> None:
    for arguments in (("accuracy", name), ("flips", "expert", name), ("transfer", "expert", name)):
        result = run("evaluate", *arguments, workspace=place)
        assert result.code == 2
        assert message in result.error


def test_nonfinite_logits_are_not_stored(place: Path) -> None:
    code = (
        "\n\nclass Off(nn.Linear):\n    def forward(self, x):\n"
        "        return super().forward(x) + (float('inf') if len(x) > 2 else 0)\n"
        "\n\ndef off():\n    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), Off(3, 3))\n"
    )
    source = (
        '\n[[source]]\nname = "off"\nmodel = "python:models.py:off"\nclasses = 3\n'
        "input_size = 12\nmean = [0.5, 0.5, 0.5]\nstd = [0.25, 0.25, 0.25]\n"
    )
    for name, more in (("models.py", code), ("zoo.toml", source)):
        (place / name).write_text((place / name).read_text() + more)
    result = run("evaluate", "accuracy", "off", workspace=place)
    assert result.code == 3, result.err
    assert "off gives logits that are not finite for 18 images" in result.error
    assert not (place / "predictions").exists()


def test_task_without_test_images_is_refused(tmp_path: Path) -> None:
    place = workspaces.make(tmp_path / "task", test="0%")
    result = run("evaluate", "accuracy", "student", workspace=place)
    assert result.code == 2
    assert "has no test image" in result.error


def test_unknown_device_or_negative_workers_are_refused(place: Path) -> None:
    assert 'no device "abacus"' in run("evaluate", "accuracy", "expert", "--device", "abacus", workspace=place).error
    assert run("evaluate", "accuracy", "expert", "--workers", "-1", workspace=place).code == 2
