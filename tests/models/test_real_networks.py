"""The fifteen pretrained networks of the development material: heads, features, and the accuracy on their cards."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.shared_material import SHARED
from zoo_cli.config import Source
from zoo_cli.models import loading, student
from zoo_cli.models.capture import FeatureExtractor

pytestmark = pytest.mark.skipif(SHARED is None, reason="needs the development material")

FOLDER = (SHARED or Path()) / "weights"
CARDS = sorted(path.stem for path in FOLDER.glob("*.json"))


def card_of(name: str) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return card


def load(name: str, **said: Any) -> loading.LoadedModel:
    """A network as its card and a zoo.toml beside it would declare it."""
    card = card_of(name)
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
    return loading.load_model(Source(**{**vars(source), **said}), FOLDER)


def prepared(pack: str, model: loading.LoadedModel, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The first images of a pack as the model's preprocessing wants them, and their labels."""
    import pyarrow.parquet as pq

    said = model.preprocessing
    rows = pq.read_table((SHARED or Path()) / "data" / f"{pack}-test.parquet").slice(0, count).to_pylist()
    batch = []
    for row in rows:
        image = Image.open(io.BytesIO(row["image"]["bytes"])).convert("L" if said.channels == 1 else "RGB")
        side = (said.input_size, said.input_size)
        pixels = np.asarray(image.resize(side, Image.Resampling.BILINEAR), np.float32).reshape(*side, said.channels)
        batch.append((pixels / 255 - np.float32(said.mean)) / np.float32(said.std))
    return torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2), torch.tensor([row["label"] for row in rows])


def test_there_are_fifteen() -> None:
    assert len(CARDS) == 15


@pytest.mark.parametrize("name", CARDS)
def test_features_and_classes_are_those_of_the_card(name: str) -> None:
    card, model = card_of(name), load(name)
    names = card["class_names"]
    assert model.tap.dim == card["feature_dim"]
    assert model.classes == len(names or ())
    assert model.class_names == (tuple(names) if names else None)
    assert (model.tap.head is None) == name.endswith("conv4_encoder")
    assert {p.dtype for p in model.module.parameters()} == {torch.float32}
    description = loading.describe_model(model)
    # A card of an unfolded network counts the running statistics of its batch norms too.
    statistics = sum(value.numel() for key, value in model.module.state_dict().items() if "running" in key)
    assert card["params"] in (description["parameters"], description["parameters"] + statistics)
    assert description["macs"] > 1e5


@pytest.mark.parametrize(
    ("name", "pack", "count", "within"),
    [("mnist_lenet5", "mnist", 500, 1.5), ("cifar10_resnet20", "cifar10", 300, 4.0)],
)
def test_the_accuracy_of_the_card_is_reached(name: str, pack: str, count: int, within: float) -> None:
    model = load(name)
    x, labels = prepared(pack, model, count)
    with torch.inference_mode():
        features, logits = FeatureExtractor(model.module, model.tap)(x)
    assert logits is not None
    accuracy = 100 * (logits.argmax(1) == labels).double().mean().item()
    assert abs(accuracy - card_of(name)["measured_accuracy"]) < within
    # The features alone hold what the head knows: nearest class mean, fitted on one half, read on the other.
    half = count // 2
    means = torch.stack([features[:half][labels[:half] == label].mean(0) for label in range(10)])
    nearest = torch.cdist(features[half:], means).argmin(1)
    assert (nearest == labels[half:]).double().mean() > 0.8


def test_an_encoder_becomes_a_student_with_its_own_head() -> None:
    learner = student.build(load("miniimagenet_conv4_encoder"), ("a", "b", "c"), seed=1)
    features, logits = learner(torch.randn(2, 3, 84, 84, generator=torch.Generator().manual_seed(1)))
    assert (features.shape, logits.shape) == ((2, 64), (2, 3))
    assert set(learner.plain_state_dict()) >= {"head.weight", "head.bias", "encoder.layer1.0.weight"}


def test_halves_on_disk_are_the_same_numbers_in_float32() -> None:
    from safetensors.torch import load_file

    stored = load_file(FOLDER / "imagenet_mobilenet_v2_10_224.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.float16}
    for key, value in load("imagenet_mobilenet_v2_10_224").module.state_dict().items():
        torch.testing.assert_close(value, stored[key].float(), rtol=0, atol=0)
