"""Teachers: the same answers as the network gives to an image prepared for itself, and nothing that could change."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.data.encoded_images import make_image
from tests.models.networks import images, load, write_code
from zoo_cli.config import Preprocessing
from zoo_cli.errors import UsageError
from zoo_cli.images import augmentation, colours
from zoo_cli.images.decoding import make_view
from zoo_cli.models import student, teacher
from zoo_cli.models.capture import FeatureExtractor
from zoo_cli.models.loading import LoadedModel
from zoo_cli.models.teacher import Teacher

CODE = """
from torch import nn

class Small(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, 6, 3, 2), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5))
        self.fc = nn.Linear(6, 4)
    def forward(self, x):
        return self.fc(self.body(x).mean((2, 3)))

def small(channels=3): return Small(channels)
"""
OWN: dict[str, Any] = {"input_size": 32, "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25)}
GRAY: dict[str, Any] = {"input_size": 32, "mean": (0.3,), "std": (0.4,), "args": {"channels": 1}}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_code(tmp_path, CODE)
    return tmp_path


def model(root: Path, **said: Any) -> LoadedModel:
    return load("python:nets.py:small", root, **{**OWN, **said})


def prepared(preprocessing: Preprocessing, side: int = 32) -> Tensor:
    """A picture of this side as a model of this preprocessing sees it."""
    pixels = torch.from_numpy(make_view(make_image(side, side), preprocessing)).permute(2, 0, 1)[None].float() / 255
    return augmentation.normalise(pixels, preprocessing.mean, preprocessing.std)


def raw(source: LoadedModel, x: Tensor) -> Tensor:
    with torch.no_grad():
        logits = FeatureExtractor(source.module, source.tap)(x)[1]
    assert logits is not None
    return logits


def test_where_student_and_teacher_see_alike_the_very_tensor_is_shown(root: Path) -> None:
    source = model(root)
    shown = Teacher.of(source, source.preprocessing, None)
    x = images(32, count=4)
    assert shown.view(x) is x
    assert torch.equal(shown(x), raw(source, x))


@pytest.mark.parametrize("own", [OWN, GRAY], ids=["colours", "gray"])
@pytest.mark.parametrize(("mean", "std"), [((0.5,) * 3, (0.5,) * 3), ((0.2,), (0.7,))], ids=["to colours", "to gray"])
def test_a_teacher_sees_what_decoding_for_itself_gives(
    own: dict[str, Any], mean: tuple[float, ...], std: tuple[float, ...], root: Path
) -> None:
    source = model(root, **own)
    seen, mine = Preprocessing(32, mean, std, channels=len(mean)), source.preprocessing
    got = Teacher.of(source, seen, None).view(prepared(seen))
    expected = prepared(mine)
    if (mine.channels, len(mean)) == (3, 1):  # its colours are gone
        gray = prepared(Preprocessing(32, (0.0,), (1.0,), channels=1))
        expected = augmentation.normalise(gray.expand(-1, 3, -1, -1), mine.mean, mine.std)
    level = 1 / 255 / min(mine.std)
    rounded = 0.51 if (mine.channels, len(mean)) == (1, 3) else 0.001  # decoding's gray has 8 bits
    assert float((got - expected).abs().max()) < rounded * level


def test_luma_is_that_of_the_colours_of_augmentation() -> None:
    assert teacher.LUMA == colours.LUMA


@pytest.mark.parametrize("side", [20, 48, 64])
def test_another_size_is_resized_as_decoding_would(side: int, root: Path) -> None:
    mine = model(root).preprocessing
    seen = Preprocessing(side, mine.mean, mine.std)
    got = Teacher.of(model(root), seen, None).view(prepared(seen, side))
    assert got.shape == (1, 3, 32, 32)
    level = 1 / 255 / min(mine.std)
    assert float((got - prepared(mine, side)).abs().max()) < 1.5 * level  # Pillow rounds twice


def test_size_colours_and_normalisation_change_together(root: Path) -> None:
    source = model(root)
    seen = Preprocessing(24, (0.5,), (0.5,), channels=1)
    asked = Teacher.of(source, seen, None)
    x = images(24, count=3, channels=1)
    pixels = nn.functional.interpolate(x * 0.5 + 0.5, (32, 32), mode="bilinear").expand(-1, 3, -1, -1)
    shown = augmentation.normalise(pixels, source.preprocessing.mean, source.preprocessing.std)
    torch.testing.assert_close(asked.view(x), shown, rtol=0, atol=1e-5)
    torch.testing.assert_close(asked(x), raw(source, shown), rtol=1e-5, atol=1e-5)


def test_answers_come_in_the_tasks_order(root: Path) -> None:
    source = model(root)
    x = images(32, count=4)
    order = (2, 0, 3, 1)
    got = Teacher.of(source, source.preprocessing, order)(x)
    assert torch.equal(got, raw(source, x)[:, list(order)])
    assert torch.equal(Teacher.of(source, source.preprocessing, (0, 1, 2, 3))(x), raw(source, x))


def test_nothing_switches_a_teacher_to_training_and_nothing_of_it_learns(root: Path) -> None:
    asked = Teacher.of(model(root), model(root).preprocessing, None)
    before = {key: value.clone() for key, value in asked.state_dict().items()}
    nn.ModuleList([asked]).train()
    assert not any(module.training for module in asked.modules())
    x = images(32, count=4).requires_grad_()
    logits = asked(x)
    assert not logits.requires_grad
    assert not any(parameter.requires_grad for parameter in asked.parameters())
    assert all(torch.equal(value, before[key]) for key, value in asked.state_dict().items())
    (logits * torch.ones(4, requires_grad=True)).sum().backward()  # it may stand in a loss that has a gradient


def test_a_model_may_be_teacher_and_student_at_once(root: Path) -> None:
    source = model(root)
    asked = Teacher.of(source, source.preprocessing, None)
    learner = student.trained(source, ("a", "b", "c", "d"), None).train()
    learner(images(32))[1].sum().backward()
    assert learner.module.fc.weight.grad is not None
    assert source.module.fc.weight.requires_grad
    assert asked.network.module.fc.weight is not source.module.fc.weight


def test_a_teacher_moves_as_a_whole(root: Path) -> None:
    seen = Preprocessing(24, (0.5,), (0.5,), channels=1)
    asked = Teacher.of(model(root), seen, (2, 0, 3, 1)).to("meta")
    assert asked(torch.empty(2, 1, 24, 24, device="meta")).shape == (2, 4)
    assert all(buffer.device.type == "meta" for buffer in asked.buffers())


def test_a_model_without_a_head_cannot_teach(root: Path) -> None:
    source = model(root, head=False)
    with pytest.raises(UsageError, match="source s has no head"):
        Teacher.of(source, source.preprocessing, None)
