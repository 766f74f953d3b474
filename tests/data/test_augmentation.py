"""Random views: each a function of seed, epoch and sample, and each doing what its name says."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.data.pictures import picture
from tests.data.views import COUNT, batch, choosing, set_columns, views
from zoo_cli.config import Preprocessing
from zoo_cli.errors import UsageError
from zoo_cli.images import augmentation
from zoo_cli.images.augmentation import KINDS, augment, evaluation_view
from zoo_cli.images.decoding import make_view
from zoo_cli.images.pixel_cache import cache_geometry


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_view_does_not_depend_on_the_rest_of_the_batch(kind: str, channels: int) -> None:
    images = batch(channels=channels)
    whole = views(images, kind)
    assert whole.shape == (COUNT, channels, 32, 32)
    assert whole.dtype == torch.float32
    assert float(whole.min()) >= 0
    assert float(whole.max()) <= 1
    alone = torch.cat([views(images[i : i + 1], kind, first=i) for i in range(COUNT)])
    assert torch.equal(alone, whole)
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(3))
    epochs = torch.zeros(COUNT, dtype=torch.long)
    shuffled = augment(images[order], kind, 32, seed=1, epoch=epochs, sample=order)
    assert torch.equal(shuffled, whole[order])


@pytest.mark.parametrize("kind", ["flip", "shift", "crop", "affine", "rand"])
def test_another_epoch_seed_or_sample_is_another_view(kind: str) -> None:
    images = batch()
    whole = views(images, kind)
    assert torch.equal(views(images, kind), whole)
    for other in (views(images, kind, epoch=1), views(images, kind, seed=2), views(images, kind, first=COUNT)):
        assert not torch.equal(other, whole)


def test_none_is_the_centre_crop_and_flip_mirrors_half_of_them() -> None:
    images = batch(400)
    centre = images[:, :, 4:36, 4:36].float() / 255
    assert torch.equal(views(images, "none"), centre)
    flipped = views(images, "flip")
    mirrored = torch.tensor([torch.equal(a, b.flip(2)) for a, b in zip(flipped, centre, strict=True)])
    plain = torch.tensor([torch.equal(a, b) for a, b in zip(flipped, centre, strict=True)])
    assert bool((mirrored ^ plain).all())
    assert 150 < int(mirrored.sum()) < 250


@pytest.mark.parametrize(("size", "most"), [(32, 4), (30, 3)])
def test_shift_mirrors_half_and_moves_by_whole_pixels_up_to_an_eighth(size: int, most: int) -> None:
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    images = torch.stack([x * 3, y * 3, torch.zeros(64, 64)]).to(torch.uint8).expand(3000, 3, 64, 64)
    got = views(images, "shift", size) * 255 / 3
    left, top = got[:, 0, 0].amin(1), got[:, 1, 0, 0]  # a pixel's value says where it comes from
    for first in (left, top):
        moved = first - (64 - size) / 2
        counts = torch.bincount((moved.round() + most).long(), minlength=2 * most + 1)
        assert float((moved - moved.round()).abs().max()) < 1e-3
        assert len(counts) == 2 * most + 1
        assert int(counts.min()) > 0.8 * 3000 / (2 * most + 1)
    mirrored = got[:, 0, 0, 0] > got[:, 0, 0, -1]
    assert 0.45 < float(mirrored.float().mean()) < 0.55
    whole = torch.where(mirrored[:, None, None], got[:, 0].flip(2), got[:, 0])
    assert float((whole - left[:, None, None] - torch.arange(size)).abs().max()) < 1e-3


def test_what_a_shift_brings_in_from_beyond_the_image_repeats_its_border() -> None:
    images = batch(height=32, width=32)
    got = views(images, "shift") * 255
    padded = torch.nn.functional.pad(images.float(), (4,) * 4, mode="replicate")
    crops = torch.stack([padded[:, :, i : i + 32, j : j + 32] for i in range(9) for j in range(9)], 1)
    crops = torch.cat([crops, crops.flip(4)], 1)
    assert float((crops - got[:, None]).abs().amax((2, 3, 4)).amin(1).max()) < 0.01


def test_a_crop_shows_a_box_of_the_image_with_torchvisions_area_and_shape() -> None:
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    images = torch.stack([x * 3, y * 3, torch.zeros(64, 64)]).to(torch.uint8).expand(3000, 3, 64, 64)
    got = views(images, "crop", 16)
    across = (got[:, 0, 8, -2] - got[:, 0, 8, 1]) * 255 / 3 * 16 / 13  # a pixel's value says where it comes from
    down = (got[:, 1, -2, 8] - got[:, 1, 1, 8]) * 255 / 3 * 16 / 13
    assert 0.45 < float((across < 0).float().mean()) < 0.55
    wide, tall = across.abs(), down
    area, ratio = wide * tall / 64**2, wide / tall
    assert float(area.min()) > 0.07
    assert float(area.max()) < 1.05
    assert float(ratio.min()) > 0.72
    assert float(ratio.max()) < 1.38
    from torchvision.transforms import RandomResizedCrop

    with torch.random.fork_rng():
        torch.manual_seed(0)
        boxes = [RandomResizedCrop.get_params(torch.zeros(3, 64, 64), [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(3000)]
    theirs = torch.tensor([height * width / 64**2 for _, _, height, width in boxes])
    assert abs(float(area.mean()) - float(theirs.mean())) < 0.03
    assert abs(float(area.std()) - float(theirs.std())) < 0.03
    centres = got[:, 1, 8, 8] * 255 / 3 / 64
    assert abs(float(centres.mean()) - 0.5) < 0.03


def test_a_crop_of_the_whole_image_is_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentation, "AREA", (1.0, 1.0))
    monkeypatch.setattr(augmentation, "RATIO", (1.0, 1.0))
    images = batch(height=32, width=32)
    got, true = views(images, "crop"), images.float() / 255
    for one, whole in zip(got, true, strict=True):
        assert min(float((one - whole).abs().max()), float((one - whole.flip(2)).abs().max())) < 1e-5


def test_a_crop_of_a_narrow_image_keeps_its_shape_within_bounds() -> None:
    got = views(batch(200, height=20, width=200), "crop", 16)
    assert bool(torch.isfinite(got).all())


def test_affine_moves_a_little_and_never_mirrors() -> None:
    glyph = torch.zeros(1, 1, 48, 48, dtype=torch.uint8)
    glyph[:, :, 14:34, 14:18] = 255  # an L
    glyph[:, :, 30:34, 14:30] = 255
    got = views(glyph.expand(300, 1, 48, 48), "affine", 48)
    true = glyph.float() / 255
    mirrored = true.flip(3)
    both = [float((got * other).sum((1, 2, 3)).mean()) for other in (true, mirrored)]
    assert both[0] > 2 * both[1]
    assert 0.75 < float(got.sum((1, 2, 3)).mean() / true.sum()) < 1.25
    middle = torch.arange(48.0)
    across = (got.sum((1, 2)) * middle).sum(1) / got.sum((1, 2, 3))
    assert 1 < float(across.std()) < 6


def test_affine_at_its_centre_is_the_centre_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    images = batch(height=41, width=47)
    monkeypatch.setattr(augmentation, "uniform", lambda _, __, sample, count: torch.full((len(sample), count), 0.5))
    assert float((views(images, "affine") - views(images, "none")).abs().max()) < 1e-5


def drawn(monkeypatch: pytest.MonkeyPatch, operation: str, sign: float) -> Tensor:
    """What "rand" does with one operation, the other draw and the crop doing nothing."""
    set_columns(monkeypatch, {augmentation._MIRROR: 0.9, augmentation._RAND + 2: sign, **choosing(operation)})
    monkeypatch.setattr(augmentation, "AREA", (1.0, 1.0))
    monkeypatch.setattr(augmentation, "RATIO", (1.0, 1.0))
    return views(batch(height=32, width=32), "rand")


FACTOR = {0.1: 0.73, 0.9: 1.27}


@pytest.mark.parametrize("sign", [0.1, 0.9])
@pytest.mark.parametrize("operation", list(augmentation.COLOURS))
def test_colour_operations_are_those_of_torchvision(
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
        "solarise": lambda: functional.solarize(images, 255 * 0.7),
        "autocontrast": lambda: functional.autocontrast(images),
        "equalise": lambda: functional.equalize(images),
    }[operation]()
    got = drawn(monkeypatch, operation, sign) * 255
    assert float((got - theirs.float()).abs().max()) < 2.01
    assert not torch.equal(theirs, images)


@pytest.mark.parametrize("sign", [0.1, 0.9])
@pytest.mark.parametrize("operation", augmentation.WARPS)
def test_geometric_operations_warp_as_torchvisions_do(
    monkeypatch: pytest.MonkeyPatch, operation: str, sign: float
) -> None:
    from torchvision.transforms.v2 import InterpolationMode, functional

    signed = -1 if sign < 0.5 else 1
    angle, shift, shear = 0.0, [0.0, 0.0], [0.0, 0.0]
    strength = {"rotate": 9.0, "shift x": 150 / 331 * 0.3 * 32, "shear x": np.degrees(np.arctan(0.09))}
    if operation == "rotate":
        angle = -signed * strength["rotate"]
    elif operation.startswith("shift"):
        shift[operation == "shift y"] = -signed * strength["shift x"]
    elif operation.startswith("shear"):
        shear[operation == "shear y"] = signed * strength["shear x"]
    images = batch(height=32, width=32)
    theirs = functional.affine(
        images.float(),
        angle,
        shift,
        1.0,
        shear,
        interpolation=InterpolationMode.BILINEAR,  # type: ignore[arg-type]
    )
    got = drawn(monkeypatch, operation, sign) * 255
    inner = slice(9, 23)  # borders differ by design: ours repeat, theirs are black
    assert float((got - theirs)[:, :, inner, inner].abs().mean()) < 1.5
    if operation != "identity":
        assert float((got - images)[:, :, inner, inner].abs().mean()) > 3


def test_rand_draws_every_operation_and_changes_more_than_crop() -> None:
    images = batch(500)
    assert not torch.equal(views(images, "rand"), views(images, "crop"))
    chosen = augmentation.uniform(augmentation.derive_seed(1, "augment"), 0, torch.arange(5000), augmentation._COUNT)
    picked = (chosen[:, augmentation._RAND : augmentation._RAND + 2] * len(augmentation.OPERATIONS)).long().flatten()
    assert torch.bincount(picked, minlength=14).min() > 500


@pytest.mark.parametrize("resize", [None, 40, 37, 33, 32, 20])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("width", "height"), [(50, 37), (61, 40), (43, 90), (33, 64)])
def test_the_evaluation_view_of_a_cached_image_is_the_models_own_view(
    width: int, height: int, channels: int, resize: int | None
) -> None:
    mean, std = (0.4, 0.5, 0.6)[:channels], (0.2, 0.3, 0.25)[:channels]
    preprocessing = Preprocessing(32, mean, std, resize=resize, channels=channels)
    image = picture(width, height)
    cached = torch.from_numpy(make_view(image, cache_geometry(preprocessing))).permute(2, 0, 1)[None]
    own = torch.from_numpy(make_view(image, preprocessing)).permute(2, 0, 1)[None].float() / 255
    assert torch.equal(evaluation_view(cached, 32), own)
    true = (own - torch.tensor(mean).view(1, -1, 1, 1)) / torch.tensor(std).view(1, -1, 1, 1)
    assert torch.equal(evaluation_view(cached, 32, mean, std), true)
    assert torch.equal(views(cached, "none", mean=mean, std=std), true)


def test_images_smaller_than_a_centre_crop_are_refused() -> None:
    for kind in ("none", "flip", "shift", "affine"):
        with pytest.raises(ValueError, match="no crop of 48"):
            views(batch(2), kind, 48)


def test_an_unknown_kind_is_named_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean crop"):
        views(batch(2), "crops")


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_gives_the_same_views_up_to_rounding(kind: str) -> None:
    images = batch()
    got = augment(images.cuda(), kind, 32, seed=1, epoch=0, sample=torch.arange(COUNT)).cpu()
    close = (got - views(images, kind)).abs() < 2 / 255
    assert float(close.float().mean()) > 0.999
