"""The fifteen pretrained networks of the development material: heads, features, and accuracies of their cards."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.shared_material import SHARED
from zoo_cli.config import Source
from zoo_cli.models import loading
from zoo_cli.models.capture import FeatureExtractor
from zoo_cli.models.student import build_student

pytestmark = pytest.mark.skipif(SHARED is None, reason="needs the development material")

FOLDER = (SHARED or Path()) / "weights"
CARDS = sorted(path.stem for path in FOLDER.glob("*.json"))


def read_card(name: str) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return card


def load_network(name: str, **options: Any) -> loading.LoadedModel:
    """A network, declared as in a zoo.toml beside its card."""
    card = read_card(name)
    source = Source(
        name,
        "python:models.py:build",
        args={"card": f"{name}.json"},
        weights=f"{name}.safetensors",
        input_size=card["input_size"],
        mean=tuple(card["mean"]),
        std=tuple(card["std"]),
        classes=tuple(card["class_names"]) if card["class_names"] else None,
    )
    return loading.load_model(Source(**{**vars(source), **options}), FOLDER)


def load_batch(pack: str, model: loading.LoadedModel, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The first images of a pack, preprocessed for the model, and their labels."""
    preprocessing = model.preprocessing
    rows = pq.read_table((SHARED or Path()) / "data" / f"{pack}-test.parquet").slice(0, count).to_pylist()
    batch = []
    for row in rows:
        image = Image.open(io.BytesIO(row["image"]["bytes"])).convert("L" if preprocessing.channels == 1 else "RGB")
        side = (preprocessing.input_size, preprocessing.input_size)
        pixels = np.asarray(image.resize(side, Image.Resampling.BILINEAR), np.float32).reshape(
            *side, preprocessing.channels
        )
        batch.append((pixels / 255 - np.float32(preprocessing.mean)) / np.float32(preprocessing.std))
    return torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2), torch.tensor([row["label"] for row in rows])


def test_there_are_fifteen_networks() -> None:
    assert len(CARDS) == 15


@pytest.mark.parametrize("name", CARDS)
def test_features_and_classes_match_the_card(name: str) -> None:
    card, model = read_card(name), load_network(name)
    names = card["class_names"]
    assert model.tap.dim == card["feature_dim"]
    assert model.classes == len(names or ())
    assert model.class_names == (tuple(names) if names else None)
    assert (model.tap.head is None) == name.endswith("conv4_encoder")
    assert {p.dtype for p in model.module.parameters()} == {torch.float32}
    description = loading.describe_model(model)
    # The card of an unfolded network also counts the running statistics of its batch norms.
    statistics = sum(value.numel() for key, value in model.module.state_dict().items() if "running" in key)
    assert card["params"] in (description["parameters"], description["parameters"] + statistics)
    assert description["macs"] > 1e5


@pytest.mark.parametrize(
    ("name", "pack", "count", "within"),
    [("mnist_lenet5", "mnist", 500, 1.5), ("cifar10_resnet20", "cifar10", 300, 4.0)],
)
def test_accuracy_matches_the_card(name: str, pack: str, count: int, within: float) -> None:
    model = load_network(name)
    x, labels = load_batch(pack, model, count)
    with torch.inference_mode():
        features, logits = FeatureExtractor(model.module, model.tap)(x)
    assert logits is not None
    accuracy = 100 * (logits.argmax(1) == labels).double().mean().item()
    assert abs(accuracy - read_card(name)["measured_accuracy"]) < within
    # The features alone classify almost as well: nearest class mean, fitted on one half, tested on the other.
    half = count // 2
    means = torch.stack([features[:half][labels[:half] == label].mean(0) for label in range(10)])
    nearest = torch.cdist(features[half:], means).argmin(1)
    assert (nearest == labels[half:]).double().mean() > 0.8


def test_an_encoder_becomes_a_student_with_a_head() -> None:
    student = build_student(load_network("miniimagenet_conv4_encoder"), ("a", "b", "c"), seed=1)
    features, logits = student(torch.randn(2, 3, 84, 84, generator=torch.Generator().manual_seed(1)))
    assert (features.shape, logits.shape) == ((2, 64), (2, 3))
    assert set(student.plain_state_dict()) >= {"head.weight", "head.bias", "encoder.layer1.0.weight"}


def test_float16_weights_load_exactly() -> None:
    stored = load_file(FOLDER / "imagenet_mobilenet_v2_10_224.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.float16}
    for key, value in load_network("imagenet_mobilenet_v2_10_224").module.state_dict().items():
        torch.testing.assert_close(value, stored[key].float(), rtol=0, atol=0)
