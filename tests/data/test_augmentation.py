"""Augmented views: a function of seed, epoch and sample alone, and each kind does what it is named for."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import RandomResizedCrop

from tests.data.encoded_images import make_image
from tests.data.warp_reference import (
    COUNT,
    fix_columns,
    make_views,
    operation_columns,
    random_batch,
    reference_colour,
    reference_warp,
)
from zoo_cli.config import Preprocessing
from zoo_cli.errors import UsageError
from zoo_cli.images import augmentation
from zoo_cli.images.augmentation import KINDS, augment, evaluation_view
from zoo_cli.images.decoding import make_view
from zoo_cli.images.pixel_cache import cache_geometry


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_view_is_independent_of_its_batch(kind: str, channels: int) -> None:
    images = random_batch(channels=channels)
    whole = make_views(images, kind)
    assert whole.shape == (COUNT, channels, 32, 32)
    assert whole.dtype == torch.float32
    assert float(whole.min()) >= 0
    assert float(whole.max()) <= 1
    alone = torch.cat([make_views(images[i : i + 1], kind, first=i) for i in range(COUNT)])
    assert torch.equal(alone, whole)
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(3))
    epochs = torch.zeros(COUNT, dtype=torch.long)
    shuffled = augment(images[order], kind, 32, seed=1, epoch=epochs, sample=order)
    assert torch.equal(shuffled, whole[order])


@pytest.mark.parametrize("kind", ["flip", "shift", "crop", "affine", "rand"])
def test_views_differ_by_epoch_seed_and_sample(kind: str) -> None:
    images = random_batch()
    whole = make_views(images, kind)
    assert torch.equal(make_views(images, kind), whole)
    for other in (
        make_views(images, kind, epoch=1),
        make_views(images, kind, seed=2),
        make_views(images, kind, first=COUNT),
    ):
        assert not torch.equal(other, whole)


def test_none_is_the_centre_crop_and_flip_mirrors_half() -> None:
    images = random_batch(400)
    centre = images[:, :, 4:36, 4:36].float() / 255
    assert torch.equal(make_views(images, "none"), centre)
    flipped = make_views(images, "flip")
    mirrored = torch.tensor([torch.equal(a, b.flip(2)) for a, b in zip(flipped, centre, strict=True)])
    unchanged = torch.tensor([torch.equal(a, b) for a, b in zip(flipped, centre, strict=True)])
    assert bool((mirrored ^ unchanged).all())
    assert 150 < int(mirrored.sum()) < 250


@pytest.mark.parametrize(("size", "most"), [(32, 4), (30, 3)])
def test_shift_mirrors_half_and_moves_up_to_an_eighth(size: int, most: int) -> None:
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    images = torch.stack([x * 3, y * 3, torch.zeros(64, 64)]).to(torch.uint8).expand(3000, 3, 64, 64)
    views = make_views(images, "shift", size) * 255 / 3
    left, top = views[:, 0, 0].amin(1), views[:, 1, 0, 0]  # a pixel's value is its position
    for first in (left, top):
        moved = first - (64 - size) / 2
        counts = torch.bincount((moved.round() + most).long(), minlength=2 * most + 1)
        assert float((moved - moved.round()).abs().max()) < 1e-3
        assert len(counts) == 2 * most + 1
        assert int(counts.min()) > 0.8 * 3000 / (2 * most + 1)
    mirrored = views[:, 0, 0, 0] > views[:, 0, 0, -1]
    assert 0.45 < float(mirrored.float().mean()) < 0.55
    whole = torch.where(mirrored[:, None, None], views[:, 0].flip(2), views[:, 0])
    assert float((whole - left[:, None, None] - torch.arange(size)).abs().max()) < 1e-3


def test_shift_repeats_the_border() -> None:
    images = random_batch(height=32, width=32)
    views = make_views(images, "shift") * 255
    padded = torch.nn.functional.pad(images.float(), (4,) * 4, mode="replicate")
    crops = torch.stack([padded[:, :, i : i + 32, j : j + 32] for i in range(9) for j in range(9)], 1)
    crops = torch.cat([crops, crops.flip(4)], 1)
    assert float((crops - views[:, None]).abs().amax((2, 3, 4)).amin(1).max()) < 0.01


def test_crop_boxes_match_torchvisions_area_and_ratio() -> None:
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    images = torch.stack([x * 3, y * 3, torch.zeros(64, 64)]).to(torch.uint8).expand(3000, 3, 64, 64)
    views = make_views(images, "crop", 16)
    across = (views[:, 0, 8, -2] - views[:, 0, 8, 1]) * 255 / 3 * 16 / 13  # a pixel's value is its position
    down = (views[:, 1, -2, 8] - views[:, 1, 1, 8]) * 255 / 3 * 16 / 13
    assert 0.45 < float((across < 0).float().mean()) < 0.55
    wide, tall = across.abs(), down
    area, ratio = wide * tall / 64**2, wide / tall
    assert float(area.min()) > 0.07
    assert float(area.max()) < 1.05
    assert float(ratio.min()) > 0.72
    assert float(ratio.max()) < 1.38
    with torch.random.fork_rng():
        torch.manual_seed(0)
        boxes = [RandomResizedCrop.get_params(torch.zeros(3, 64, 64), [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(3000)]
    reference = torch.tensor([height * width / 64**2 for _, _, height, width in boxes])
    assert abs(float(area.mean()) - float(reference.mean())) < 0.03
    assert abs(float(area.std()) - float(reference.std())) < 0.03
    centres = views[:, 1, 8, 8] * 255 / 3 / 64
    assert abs(float(centres.mean()) - 0.5) < 0.03


def test_a_crop_of_the_whole_image_is_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentation, "AREA", (1.0, 1.0))
    monkeypatch.setattr(augmentation, "RATIO", (1.0, 1.0))
    images = random_batch(height=32, width=32)
    views, whole = make_views(images, "crop"), images.float() / 255
    for view, image in zip(views, whole, strict=True):
        assert min(float((view - image).abs().max()), float((view - image.flip(2)).abs().max())) < 1e-5


def test_crops_of_a_narrow_image_are_finite() -> None:
    views = make_views(random_batch(200, height=20, width=200), "crop", 16)
    assert bool(torch.isfinite(views).all())


def test_affine_moves_slightly_and_never_mirrors() -> None:
    glyph = torch.zeros(1, 1, 48, 48, dtype=torch.uint8)
    glyph[:, :, 14:34, 14:18] = 255  # an L
    glyph[:, :, 30:34, 14:30] = 255
    views = make_views(glyph.expand(300, 1, 48, 48), "affine", 48)
    upright = glyph.float() / 255
    overlap, mirrored_overlap = (
        float((views * template).sum((1, 2, 3)).mean()) for template in (upright, upright.flip(3))
    )
    assert overlap > 2 * mirrored_overlap
    assert 0.75 < float(views.sum((1, 2, 3)).mean() / upright.sum()) < 1.25
    across = (views.sum((1, 2)) * torch.arange(48.0)).sum(1) / views.sum((1, 2, 3))
    assert 1 < float(across.std()) < 6


def test_affine_at_its_centre_is_the_centre_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    images = random_batch(height=41, width=47)
    monkeypatch.setattr(augmentation, "uniform", lambda _, __, sample, count: torch.full((len(sample), count), 0.5))
    assert float((make_views(images, "affine") - make_views(images, "none")).abs().max()) < 1e-5


def rand_views(monkeypatch: pytest.MonkeyPatch, operation: str, sign: float) -> Tensor:
    """Views of "rand" in which one operation alone changes the whole image."""
    fix_columns(monkeypatch, {augmentation._MIRROR: 0.9, augmentation._RAND + 2: sign, **operation_columns(operation)})
    monkeypatch.setattr(augmentation, "AREA", (1.0, 1.0))
    monkeypatch.setattr(augmentation, "RATIO", (1.0, 1.0))
    return make_views(random_batch(height=32, width=32), "rand")


FACTOR = {0.1: 0.73, 0.9: 1.27}


@pytest.mark.parametrize("sign", [0.1, 0.9])
@pytest.mark.parametrize("operation", list(augmentation.COLOURS))
def test_colour_operations_match_torchvision(monkeypatch: pytest.MonkeyPatch, operation: str, sign: float) -> None:
    images = random_batch(height=32, width=32)
    reference = reference_colour(images, operation, FACTOR[sign], 255 * 0.7)
    views = rand_views(monkeypatch, operation, sign) * 255
    assert float((views - reference.float()).abs().max()) < 2.01
    assert not torch.equal(reference, images)


@pytest.mark.parametrize("sign", [0.1, 0.9])
@pytest.mark.parametrize("operation", augmentation.WARPS)
def test_geometric_operations_match_torchvision(monkeypatch: pytest.MonkeyPatch, operation: str, sign: float) -> None:
    signed = -1 if sign < 0.5 else 1
    angle, shift, shear = 0.0, [0.0, 0.0], [0.0, 0.0]
    strength = {"rotate": 9.0, "shift x": 150 / 331 * 0.3 * 32, "shear x": np.degrees(np.arctan(0.09))}
    if operation == "rotate":
        angle = -signed * strength["rotate"]
    elif operation.startswith("shift"):
        shift[operation == "shift y"] = -signed * strength["shift x"]
    elif operation.startswith("shear"):
        shear[operation == "shear y"] = signed * strength["shear x"]
    images = random_batch(height=32, width=32)
    reference = reference_warp(images, angle, shift, shear)
    views = rand_views(monkeypatch, operation, sign) * 255
    inner = slice(9, 23)  # borders differ by design: ours repeat, torchvision's are black
    assert float((views - reference)[:, :, inner, inner].abs().mean()) < 1.5
    if operation != "identity":
        assert float((views - images)[:, :, inner, inner].abs().mean()) > 3


def test_rand_draws_every_operation_and_changes_more_than_crop() -> None:
    images = random_batch(500)
    assert not torch.equal(make_views(images, "rand"), make_views(images, "crop"))
    numbers = augmentation.uniform(augmentation.derive_seed(1, "augment"), 0, torch.arange(5000), augmentation._COUNT)
    first = augmentation._RAND
    operations = (numbers[:, first : first + 2] * len(augmentation.OPERATIONS)).long().flatten()
    assert torch.bincount(operations, minlength=14).min() > 500


@pytest.mark.parametrize("resize", [None, 40, 37, 33, 32, 20])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("width", "height"), [(50, 37), (61, 40), (43, 90), (33, 64)])
def test_evaluation_view_of_a_cached_image_is_exact(width: int, height: int, channels: int, resize: int | None) -> None:
    mean, std = (0.4, 0.5, 0.6)[:channels], (0.2, 0.3, 0.25)[:channels]
    preprocessing = Preprocessing(32, mean, std, resize=resize, channels=channels)
    image = make_image(width, height)
    cached = torch.from_numpy(make_view(image, cache_geometry(preprocessing))).permute(2, 0, 1)[None]
    own = torch.from_numpy(make_view(image, preprocessing)).permute(2, 0, 1)[None].float() / 255
    assert torch.equal(evaluation_view(cached, 32), own)
    expected = (own - torch.tensor(mean).view(1, -1, 1, 1)) / torch.tensor(std).view(1, -1, 1, 1)
    assert torch.equal(evaluation_view(cached, 32, mean, std), expected)
    assert torch.equal(make_views(cached, "none", mean=mean, std=std), expected)


def test_images_smaller_than_the_crop_are_refused() -> None:
    for kind in ("none", "flip", "shift", "affine"):
        with pytest.raises(ValueError, match="a crop of 48 does not fit"):
            make_views(random_batch(2), kind, 48)


def test_unknown_kind_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean crop"):
        make_views(random_batch(2), "crops")


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_gpu_views_match_up_to_rounding(kind: str) -> None:
    images = random_batch()
    on_gpu = augment(images.cuda(), kind, 32, seed=1, epoch=0, sample=torch.arange(COUNT)).cpu()
    close = (on_gpu - make_views(images, kind)).abs() < 2 / 255
    assert float(close.float().mean()) > 0.999
