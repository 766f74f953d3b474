"""Teachers: the network's own logits on the student's views, and nothing that training could change."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.data.encoded_images import make_image
from tests.models.tiny_models import load_source, make_images, write_code
from zoo_cli.config import Preprocessing
from zoo_cli.errors import UsageError
from zoo_cli.images import augmentation, colours
from zoo_cli.images.decoding import make_view
from zoo_cli.models import teacher
from zoo_cli.models.capture import FeatureExtractor
from zoo_cli.models.loading import LoadedModel
from zoo_cli.models.student import build_trained_student
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


def load_model(root: Path, **options: Any) -> LoadedModel:
    return load_source("python:nets.py:small", root, **{**OWN, **options})


def decode_view(preprocessing: Preprocessing, side: int = 32) -> Tensor:
    """An image of this side as decoding prepares it for a model."""
    pixels = torch.from_numpy(make_view(make_image(side, side), preprocessing)).permute(2, 0, 1)[None].float() / 255
    return augmentation.normalise(pixels, preprocessing.mean, preprocessing.std)


def compute_logits(source: LoadedModel, x: Tensor) -> Tensor:
    with torch.no_grad():
        logits = FeatureExtractor(source.module, source.tap)(x)[1]
    assert logits is not None
    return logits


def test_equal_preprocessing_passes_the_tensor_through(root: Path) -> None:
    source = load_model(root)
    teacher = Teacher.from_model(source, source.preprocessing, None)
    x = make_images(32, count=4)
    assert teacher.view(x) is x
    assert torch.equal(teacher(x), compute_logits(source, x))


@pytest.mark.parametrize("own", [OWN, GRAY], ids=["colours", "gray"])
@pytest.mark.parametrize(("mean", "std"), [((0.5,) * 3, (0.5,) * 3), ((0.2,), (0.7,))], ids=["to colours", "to gray"])
def test_the_view_matches_decoding_for_the_teacher(
    own: dict[str, Any], mean: tuple[float, ...], std: tuple[float, ...], root: Path
) -> None:
    source = load_model(root, **own)
    theirs, mine = Preprocessing(32, mean, std, channels=len(mean)), source.preprocessing
    view = Teacher.from_model(source, theirs, None).view(decode_view(theirs))
    expected = decode_view(mine)
    if (mine.channels, len(mean)) == (3, 1):  # its colours are lost
        gray = decode_view(Preprocessing(32, (0.0,), (1.0,), channels=1))
        expected = augmentation.normalise(gray.expand(-1, 3, -1, -1), mine.mean, mine.std)
    level = 1 / 255 / min(mine.std)
    rounded = 0.51 if (mine.channels, len(mean)) == (1, 3) else 0.001  # decoding's gray has 8 bits
    assert float((view - expected).abs().max()) < rounded * level


def test_luma_is_that_of_augmentation() -> None:
    assert teacher.LUMA == colours.LUMA


@pytest.mark.parametrize("side", [20, 48, 64])
def test_resizing_matches_decoding(side: int, root: Path) -> None:
    mine = load_model(root).preprocessing
    theirs = Preprocessing(side, mine.mean, mine.std)
    view = Teacher.from_model(load_model(root), theirs, None).view(decode_view(theirs, side))
    assert view.shape == (1, 3, 32, 32)
    level = 1 / 255 / min(mine.std)
    assert float((view - decode_view(mine, side)).abs().max()) < 1.5 * level  # Pillow rounds twice


def test_size_colour_and_normalisation_change_together(root: Path) -> None:
    source = load_model(root)
    theirs = Preprocessing(24, (0.5,), (0.5,), channels=1)
    teacher = Teacher.from_model(source, theirs, None)
    x = make_images(24, count=3, channels=1)
    pixels = nn.functional.interpolate(x * 0.5 + 0.5, (32, 32), mode="bilinear").expand(-1, 3, -1, -1)
    view = augmentation.normalise(pixels, source.preprocessing.mean, source.preprocessing.std)
    torch.testing.assert_close(teacher.view(x), view, rtol=0, atol=1e-5)
    torch.testing.assert_close(teacher(x), compute_logits(source, view), rtol=1e-5, atol=1e-5)


def test_logits_are_in_the_tasks_order(root: Path) -> None:
    source = load_model(root)
    x = make_images(32, count=4)
    order = (2, 0, 3, 1)
    logits = Teacher.from_model(source, source.preprocessing, order)(x)
    assert torch.equal(logits, compute_logits(source, x)[:, list(order)])
    assert torch.equal(Teacher.from_model(source, source.preprocessing, (0, 1, 2, 3))(x), compute_logits(source, x))


def test_a_teacher_stays_in_eval_mode_without_gradients(root: Path) -> None:
    teacher = Teacher.from_model(load_model(root), load_model(root).preprocessing, None)
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    nn.ModuleList([teacher]).train()
    assert not any(module.training for module in teacher.modules())
    x = make_images(32, count=4).requires_grad_()
    logits = teacher(x)
    assert not logits.requires_grad
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())
    (logits * torch.ones(4, requires_grad=True)).sum().backward()  # it may be part of a loss with a gradient


def test_a_model_may_be_teacher_and_student_at_once(root: Path) -> None:
    source = load_model(root)
    teacher = Teacher.from_model(source, source.preprocessing, None)
    student = build_trained_student(source, ("a", "b", "c", "d"), None).train()
    student(make_images(32))[1].sum().backward()
    assert student.module.fc.weight.grad is not None
    assert source.module.fc.weight.requires_grad
    assert teacher.network.module.fc.weight is not source.module.fc.weight


def test_a_teacher_moves_with_its_buffers(root: Path) -> None:
    theirs = Preprocessing(24, (0.5,), (0.5,), channels=1)
    teacher = Teacher.from_model(load_model(root), theirs, (2, 0, 3, 1)).to("meta")
    assert teacher(torch.empty(2, 1, 24, 24, device="meta")).shape == (2, 4)
    assert all(buffer.device.type == "meta" for buffer in teacher.buffers())


def test_a_model_without_a_head_cannot_teach(root: Path) -> None:
    source = load_model(root, head=False)
    with pytest.raises(UsageError, match="source s has no head"):
        Teacher.from_model(source, source.preprocessing, None)


def test_head_is_computed_in_float32_under_autocast(root: Path) -> None:
    source = load_model(root)
    teacher = Teacher.from_model(source, source.preprocessing, None)
    x = make_images(32, count=4)
    exact = teacher(x)
    with torch.autocast("cpu", torch.bfloat16):
        logits = teacher(x)
        assert torch.is_autocast_enabled("cpu")
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())  # more digits than bfloat16 has
    assert not torch.equal(logits, exact)  # the body has no more
    torch.testing.assert_close(logits, exact, rtol=0.05, atol=0.05)


def test_head_that_fails_leaves_autocast_as_it_was(root: Path) -> None:
    source = load_model(root)
    network = Teacher.from_model(source, source.preprocessing, None).network
    with torch.autocast("cpu", torch.bfloat16):
        with pytest.raises(RuntimeError):
            network.module.get_submodule("fc")(torch.ones(1, 7))
        assert torch.is_autocast_enabled("cpu")
