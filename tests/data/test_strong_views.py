"""FixMatch's harder views: geometry, two operations and a gray square, from random numbers of their own."""

import pytest
import torch
from torch import Tensor

from tests.data.views import COUNT, batch, choosing, set_columns, views
from zoo_cli.images import augmentation
from zoo_cli.images.augmentation import KINDS, augment
from zoo_cli.images.colours import COLOURS

GRAY = 0.5


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_strong_view_does_not_depend_on_the_rest_of_the_batch(kind: str, channels: int) -> None:
    images = batch(channels=channels)
    whole = views(images, kind, strong=True)
    assert whole.shape == (COUNT, channels, 32, 32)
    assert whole.dtype == torch.float32
    assert float(whole.min()) >= 0
    assert float(whole.max()) <= 1
    alone = torch.cat([views(images[i : i + 1], kind, first=i, strong=True) for i in range(COUNT)])
    assert torch.equal(alone, whole)
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(3))
    epochs = torch.zeros(COUNT, dtype=torch.long)
    assert torch.equal(augment(images[order], kind, 32, seed=1, epoch=epochs, sample=order, strong=True), whole[order])


@pytest.mark.parametrize("kind", KINDS)
def test_two_images_of_one_batch_get_different_strong_views(kind: str) -> None:
    same = batch(1).expand(40, -1, -1, -1)
    got = views(same, kind, strong=True).flatten(1)
    different = (got[:, None] != got[None]).any(2)
    assert int((~different).sum()) == 40  # each is like itself alone


@pytest.mark.parametrize("kind", KINDS)
def test_another_epoch_seed_or_sample_is_another_strong_view(kind: str) -> None:
    images = batch()
    whole = views(images, kind, strong=True)
    assert torch.equal(views(images, kind, strong=True), whole)
    for other in ({"epoch": 1}, {"seed": 2}, {"first": COUNT}):
        assert not torch.equal(views(images, kind, strong=True, **other), whole)


def rises(views: Tensor) -> Tensor:
    """Whether a view (B, 1, H, W) of a picture that grows brighter to the right still does, its gray square aside."""
    x = torch.linspace(-1, 1, views.shape[3])
    seen = (views - views.mean((2, 3), keepdim=True)) * (views != GRAY)
    return (seen * x).sum((1, 2, 3)) > 0


def ramps(count: int) -> Tensor:
    return torch.linspace(20, 110, 40).to(torch.uint8).expand(count, 1, 40, 40)


@pytest.mark.parametrize("kind", KINDS)
def test_strong_views_are_mirrored_as_their_kind_is(kind: str) -> None:
    share = float(rises(views(ramps(600), kind, strong=True)).float().mean())
    assert share > 0.95 if kind in ("none", "affine") else 0.42 < share < 0.58


@pytest.mark.parametrize("kind", ["flip", "shift", "crop"])
def test_whether_the_weak_view_is_mirrored_says_nothing_of_the_strong_one(kind: str) -> None:
    images = ramps(600)
    agree = rises(views(images, kind)) == rises(views(images, kind, strong=True))
    assert 0.42 < float(agree.float().mean()) < 0.58


def lone(monkeypatch: pytest.MonkeyPatch, operation: str, sign: float) -> Tensor:
    """Strong views with one operation, the square in the corner at the top left, (COUNT, 3, 32, 32)."""
    columns = {augmentation._CUTOUT: 0.0, augmentation._CUTOUT + 1: 0.0, augmentation._RAND + 2: sign}
    set_columns(monkeypatch, {**columns, **choosing(operation)})
    return views(batch(height=32, width=32), "none", strong=True)


FACTOR = {0.1: 0.7, 0.9: 1.3}


@pytest.mark.parametrize("sign", [0.1, 0.9])
@pytest.mark.parametrize("operation", COLOURS)
def test_colours_change_at_magnitude_ten_of_thirty_and_the_square_comes_last(
    monkeypatch: pytest.MonkeyPatch, operation: str, sign: float
) -> None:
    from torchvision.transforms.v2 import functional

    images = batch(height=32, width=32)
    factor = FACTOR[sign]
    theirs = {
        "brightness": lambda: functional.adjust_brightness(images, factor),
        "saturation": lambda: functional.adjust_saturation(images, factor),
        "contrast": lambda: functional.adjust_contrast(images, factor),
        "sharpness": lambda: functional.adjust_sharpness(images, factor),
        "posterise": lambda: functional.posterize(images, 7),
        "solarise": lambda: functional.solarize(images, 170),
        "autocontrast": lambda: functional.autocontrast(images),
        "equalise": lambda: functional.equalize(images),
    }[operation]()
    got = lone(monkeypatch, operation, sign)
    assert bool((got[:, :, :8, :8] == GRAY).all())
    outside = torch.ones(32, 32, dtype=torch.bool)
    outside[:8, :8] = False
    sure = outside & (images != 170) if operation == "solarise" else outside.expand_as(images)
    assert float((got * 255 - theirs.float()).abs()[sure].max()) < 2.01


@pytest.mark.parametrize("operation", ["rotate", "shift x", "shear y"])
def test_shapes_change_at_magnitude_ten_of_thirty(monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    from torchvision.transforms.v2 import InterpolationMode, functional

    angle = -10.0 if operation == "rotate" else 0.0
    shift = [-150 / 331 / 3 * 32 if operation == "shift x" else 0.0, 0.0]
    shear = [0.0, 5.7106 if operation == "shear y" else 0.0]  # the degrees of a tangent of 0.1
    images = batch(height=32, width=32)
    bilinear = InterpolationMode.BILINEAR
    theirs = functional.affine(images.float(), angle, shift, 1.0, shear, interpolation=bilinear)  # type: ignore[arg-type]
    got = lone(monkeypatch, operation, 0.9) * 255
    inner = slice(9, 23)  # borders differ by design: ours repeat, theirs are black
    assert float((got - theirs)[:, :, inner, inner].abs().mean()) < 1.5
    assert float((got - images)[:, :, inner, inner].abs().mean()) > 3


def test_both_operations_are_applied_in_the_order_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = {augmentation._CUTOUT: 0.0, augmentation._CUTOUT + 1: 0.0, augmentation._RAND + 2: 0.9}
    got = []
    for pair in (("brightness", "solarise"), ("solarise", "brightness")):
        set_columns(monkeypatch, {**columns, **choosing(*pair)})
        got.append(views(batch(height=32, width=32), "none", strong=True)[:, :, 8:, 8:])
    x = batch(height=32, width=32).float()[:, :, 8:, 8:] / 255
    brighter = (x * 1.3).clamp(0, 1)
    theirs = torch.where(brighter >= 170 / 255, 1 - brighter, brighter)
    assert float(((got[0] - theirs).abs() < 1e-4).float().mean()) > 0.99  # but at the threshold
    assert float((got[0] - got[1]).abs().mean()) > 0.05


def test_without_an_operation_a_strong_view_is_the_kinds_own_picture_behind_a_gray_square(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_columns(monkeypatch, choosing("identity"))
    images = batch(4000, channels=1).clamp(0, 120)  # no pixel is as bright as the square
    got = views(images, "none", strong=True)
    covered = got[:, 0] == GRAY
    plain = views(images, "none")
    assert float((got - plain).abs()[~covered[:, None]].max()) < 1e-5
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
    images = batch()
    plain = views(images, "shift", strong=True)
    got = views(images, "shift", strong=True, mean=mean, std=std)
    true = (plain - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    assert torch.equal(got, true)
    assert bool((plain == GRAY).all(1).flatten(1).sum(1).ge(64).all())


@pytest.mark.parametrize("kind", ["none", "flip", "shift", "affine"])
def test_images_smaller_than_a_centre_crop_have_no_strong_view(kind: str) -> None:
    with pytest.raises(ValueError, match="no crop of 48"):
        views(batch(2), kind, 48, strong=True)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_gives_the_same_strong_views_up_to_rounding(kind: str) -> None:
    images = batch()
    got = augment(images.cuda(), kind, 32, seed=1, epoch=0, sample=torch.arange(COUNT), strong=True).cpu()
    close = (got - views(images, kind, strong=True)).abs() < 2 / 255
    assert float(close.float().mean()) > 0.995
