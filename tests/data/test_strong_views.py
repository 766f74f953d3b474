"""FixMatch's strong views: geometry, two operations and a gray square, from random numbers of their own."""

import pytest
import torch
from torch import Tensor

from tests.data.warp_reference import (
    COUNT,
    fix_columns,
    make_views,
    operation_columns,
    random_batch,
    reference_colour,
    reference_warp,
)
from zoo_cli.images import augmentation
from zoo_cli.images.augmentation import KINDS, augment
from zoo_cli.images.colours import COLOURS

GRAY = 0.5


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_strong_view_is_independent_of_its_batch(kind: str, channels: int) -> None:
    images = random_batch(channels=channels)
    whole = make_views(images, kind, strong=True)
    assert whole.shape == (COUNT, channels, 32, 32)
    assert whole.dtype == torch.float32
    assert float(whole.min()) >= 0
    assert float(whole.max()) <= 1
    alone = torch.cat([make_views(images[i : i + 1], kind, first=i, strong=True) for i in range(COUNT)])
    assert torch.equal(alone, whole)
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(3))
    epochs = torch.zeros(COUNT, dtype=torch.long)
    assert torch.equal(augment(images[order], kind, 32, seed=1, epoch=epochs, sample=order, strong=True), whole[order])


@pytest.mark.parametrize("kind", KINDS)
def test_copies_in_a_batch_get_different_strong_views(kind: str) -> None:
    copies = random_batch(1).expand(40, -1, -1, -1)
    views = make_views(copies, kind, strong=True).flatten(1)
    different = (views[:, None] != views[None]).any(2)
    assert int((~different).sum()) == 40  # each equals only itself


@pytest.mark.parametrize("kind", KINDS)
def test_strong_views_differ_by_epoch_seed_and_sample(kind: str) -> None:
    images = random_batch()
    whole = make_views(images, kind, strong=True)
    assert torch.equal(make_views(images, kind, strong=True), whole)
    for other in ({"epoch": 1}, {"seed": 2}, {"first": COUNT}):
        assert not torch.equal(make_views(images, kind, strong=True, **other), whole)


def rises(views: Tensor) -> Tensor:
    """Whether views (B, 1, H, W) of images that grow brighter to the right still do, the gray square aside."""
    x = torch.linspace(-1, 1, views.shape[3])
    contrast = (views - views.mean((2, 3), keepdim=True)) * (views != GRAY)
    return (contrast * x).sum((1, 2, 3)) > 0


def ramps(count: int) -> Tensor:
    return torch.linspace(20, 110, 40).to(torch.uint8).expand(count, 1, 40, 40)


@pytest.mark.parametrize("kind", KINDS)
def test_strong_views_are_mirrored_as_their_kind(kind: str) -> None:
    share = float(rises(make_views(ramps(600), kind, strong=True)).float().mean())
    assert share > 0.95 if kind in ("none", "affine") else 0.42 < share < 0.58


@pytest.mark.parametrize("kind", ["flip", "shift", "crop"])
def test_weak_and_strong_views_mirror_independently(kind: str) -> None:
    images = ramps(600)
    agree = rises(make_views(images, kind)) == rises(make_views(images, kind, strong=True))
    assert 0.42 < float(agree.float().mean()) < 0.58


def one_operation_views(monkeypatch: pytest.MonkeyPatch, operation: str, sign: float) -> Tensor:
    """Strong views (COUNT, 3, 32, 32) with one operation and the square in the top left corner."""
    columns = {augmentation._CUTOUT: 0.0, augmentation._CUTOUT + 1: 0.0, augmentation._RAND + 2: sign}
    fix_columns(monkeypatch, {**columns, **operation_columns(operation)})
    return make_views(random_batch(height=32, width=32), "none", strong=True)


FACTOR = {0.1: 0.7, 0.9: 1.3}


@pytest.mark.parametrize("sign", [0.1, 0.9])
@pytest.mark.parametrize("operation", COLOURS)
def test_colour_operations_precede_the_gray_square(
    monkeypatch: pytest.MonkeyPatch, operation: str, sign: float
) -> None:
    images = random_batch(height=32, width=32)
    reference = reference_colour(images, operation, FACTOR[sign], 170)
    views = one_operation_views(monkeypatch, operation, sign)
    assert bool((views[:, :, :8, :8] == GRAY).all())
    outside = torch.ones(32, 32, dtype=torch.bool)
    outside[:8, :8] = False
    defined = outside & (images != 170) if operation == "solarise" else outside.expand_as(images)
    assert float((views * 255 - reference.float()).abs()[defined].max()) < 2.01


@pytest.mark.parametrize("operation", ["rotate", "shift x", "shear y"])
def test_geometric_operations_have_magnitude_ten(monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    angle = -10.0 if operation == "rotate" else 0.0
    shift = [-150 / 331 / 3 * 32 if operation == "shift x" else 0.0, 0.0]
    shear = [0.0, 5.7106 if operation == "shear y" else 0.0]  # atan(0.1) in degrees
    images = random_batch(height=32, width=32)
    reference = reference_warp(images, angle, shift, shear)
    views = one_operation_views(monkeypatch, operation, 0.9) * 255
    inner = slice(9, 23)  # borders differ by design: ours repeat, torchvision's are black
    assert float((views - reference)[:, :, inner, inner].abs().mean()) < 1.5
    assert float((views - images)[:, :, inner, inner].abs().mean()) > 3


def test_both_operations_are_applied_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = {augmentation._CUTOUT: 0.0, augmentation._CUTOUT + 1: 0.0, augmentation._RAND + 2: 0.9}
    views = []
    for pair in (("brightness", "solarise"), ("solarise", "brightness")):
        fix_columns(monkeypatch, {**columns, **operation_columns(*pair)})
        views.append(make_views(random_batch(height=32, width=32), "none", strong=True)[:, :, 8:, 8:])
    x = random_batch(height=32, width=32).float()[:, :, 8:, 8:] / 255
    brighter = (x * 1.3).clamp(0, 1)
    expected = torch.where(brighter >= 170 / 255, 1 - brighter, brighter)
    assert float(((views[0] - expected).abs() < 1e-4).float().mean()) > 0.99  # except at the threshold
    assert float((views[0] - views[1]).abs().mean()) > 0.05


def test_identity_leaves_the_weak_view_behind_the_square(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fix_columns(monkeypatch, operation_columns("identity"))
    images = random_batch(4000, channels=1).clamp(0, 120)  # no pixel is as bright as the square
    views = make_views(images, "none", strong=True)
    covered = views[:, 0] == GRAY
    weak = make_views(images, "none")
    assert float((views - weak).abs()[~covered[:, None]].max()) < 1e-5
    expected = torch.zeros(32, 32)
    for down in range(32):
        for across in range(32):
            expected[max(0, down - 8) : down + 8, max(0, across - 8) : across + 8] += 1 / 32**2
    assert float((covered.float().mean(0) - expected).abs().max()) < 0.03
    rows, columns = covered.any(2).sum(1), covered.any(1).sum(1)
    assert torch.equal(rows * columns, covered.sum((1, 2)))
    for side in (rows, columns):
        assert (int(side.min()), int(side.max())) == (8, 16)


def test_the_square_is_gray_before_normalisation() -> None:
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
    images = random_batch()
    views = make_views(images, "shift", strong=True)
    normalised = make_views(images, "shift", strong=True, mean=mean, std=std)
    expected = (views - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    assert torch.equal(normalised, expected)
    assert bool((views == GRAY).all(1).flatten(1).sum(1).ge(64).all())


@pytest.mark.parametrize("kind", ["none", "flip", "shift", "affine"])
def test_images_smaller_than_the_crop_have_no_strong_view(kind: str) -> None:
    with pytest.raises(ValueError, match="a crop of 48 does not fit"):
        make_views(random_batch(2), kind, 48, strong=True)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_gpu_strong_views_match_up_to_rounding(kind: str) -> None:
    images = random_batch()
    on_gpu = augment(images.cuda(), kind, 32, seed=1, epoch=0, sample=torch.arange(COUNT), strong=True).cpu()
    close = (on_gpu - make_views(images, kind, strong=True)).abs() < 2 / 255
    assert float(close.float().mean()) > 0.995
