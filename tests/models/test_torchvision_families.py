"""Every family of torchvision classifiers: its head is found, and its students are plain torchvision state dicts."""

from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from tests.models.tiny_models import load_source, make_images
from zoo_cli.models import cost
from zoo_cli.models.capture import FeatureExtractor
from zoo_cli.models.loading import LoadedModel
from zoo_cli.models.student import build_student

# Name, input size, width of the features. Large or slow families are separate.
QUICK = [
    ("resnet18", 32, 512),
    ("squeezenet1_1", 32, 512),
    ("densenet121", 32, 1024),
    ("googlenet", 32, 1024),
    ("shufflenet_v2_x0_5", 32, 1024),
    ("mobilenet_v2", 32, 1280),
    ("mobilenet_v3_small", 32, 1024),
    ("mobilenet_v3_large", 32, 1280),
    ("efficientnet_b0", 32, 1280),
    ("regnet_y_400mf", 32, 440),
    ("mnasnet0_5", 32, 1280),
]
SLOW = [
    ("swin_t", 32, 768),
    ("convnext_tiny", 32, 768),
    ("squeezenet1_0", 32, 512),
    ("alexnet", 64, 4096),
    ("vgg11", 32, 4096),
    ("inception_v3", 96, 2048),
    ("vit_b_32", 224, 768),
    ("swin_v2_t", 64, 768),
    ("maxvit_t", 224, 512),
]
FAMILIES = [pytest.param(*row, id=row[0]) for row in QUICK]
FAMILIES += [pytest.param(*row, id=row[0], marks=pytest.mark.slow) for row in SLOW]
PLAIN = {"googlenet": {"aux_logits": False, "init_weights": False}}
PLAIN["inception_v3"] = PLAIN["googlenet"]


def apply_head(model: LoadedModel, features: torch.Tensor) -> torch.Tensor:
    """The logits of pooled features, without a ReLU between head and mean."""
    head = model.module.get_submodule(str(model.tap.head))
    if isinstance(head, nn.Conv2d):
        return head(features[:, :, None, None])[:, :, 0, 0]
    return head(features)


@pytest.mark.parametrize(("name", "size", "dim"), FAMILIES)
def test_features_and_plain_student_state_dicts(name: str, size: int, dim: int, tmp_path: Path) -> None:
    model = load_source(f"torchvision:{name}", tmp_path, input_size=size)
    assert (model.tap.dim, model.classes) == (dim, 1000)
    x = make_images(size)
    with torch.no_grad():
        y = model.module(x)
        features, logits = FeatureExtractor(model.module, model.tap)(x)
        again = apply_head(model, features)
    assert logits is not None
    torch.testing.assert_close(logits, y, rtol=0, atol=0)
    if not model.tap.relu:
        torch.testing.assert_close(again, y, rtol=1e-4, atol=1e-5)

    student = build_student(model, ("a", "b", "c"), seed=5)
    assert student.features_dim == dim
    student.train()
    features, logits = student(make_images(size, count=3))
    assert (features.shape, logits.shape) == ((3, dim), (3, 3))
    body = next(p for key, p in student.module.named_parameters() if p.ndim > 1)
    # swin and convnext drop whole branches of some images in training; the remaining ones give the gradient.
    (gradient,) = torch.autograd.grad((features * torch.randn_like(features)).sum(), body)
    assert gradient.abs().sum() > 0

    fresh = torchvision.models.get_model(name, num_classes=3, **PLAIN.get(name, {})).eval()
    fresh.load_state_dict(student.plain_state_dict(), strict=True)
    student.eval()
    with torch.no_grad():
        torch.testing.assert_close(fresh(x), student(x)[1], rtol=0, atol=0)


def test_the_head_reads_the_features_and_passes_gradients(tmp_path: Path) -> None:
    student = build_student(load_source("torchvision:mobilenet_v3_small", tmp_path), ("a", "b", "c"), seed=5).train()
    read = []
    head = student.module.get_submodule("classifier.3")
    head.register_forward_pre_hook(lambda _layer, args: read.append(args[0]))
    features, logits = student(make_images(32))
    assert read[0] is features
    assert (features == 0).float().mean() > 0.1  # after the dropout of 0.2 before the head
    (gradient,) = torch.autograd.grad(logits.sum(), features)
    torch.testing.assert_close(gradient, head.weight.sum(0).expand_as(gradient))


@pytest.mark.parametrize(
    ("name", "size", "billions"),
    [
        ("resnet18", 224, 1.814),
        ("mobilenet_v3_large", 224, 0.217),
        ("squeezenet1_1", 224, 0.349),
        pytest.param("vit_b_32", 224, 4.409, marks=pytest.mark.slow),
        pytest.param("swin_t", 224, 4.491, marks=pytest.mark.slow),
    ],
)
def test_macs_match_torchvisions_published_numbers(name: str, size: int, billions: float, tmp_path: Path) -> None:
    model = load_source(f"torchvision:{name}", tmp_path, input_size=size)
    assert round(cost.count_macs(model.module, 3, size) / 1e9, 3) == billions
