"""Views for training, made in batches on the device that holds the images.

Layout: images are uint8 (B, C, H, W), results float32 (B, C, size, size) in [0, 1], normalised where mean and standard
deviation are given. The view of a sample is a function of (seed, epoch, sample) alone: on a CPU bit for bit, whatever
else is in the batch. For that, parameters are computed in double precision and sums over pixels in whole numbers.

Every geometric change is one bilinear warp. It differs from Pillow's by design: no averaging where a crop is shrunk
(images are cached near the size they are used at), boxes need not begin at whole pixels, and what lies beyond the
image repeats its border.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from zoo_cli import specs
from zoo_cli.images.colours import COLOURS
from zoo_cli.images.decoding import centred
from zoo_cli.images.random_numbers import derive_seed, uniform

KINDS = {
    "none": "the centre crop",
    "flip": "the centre crop, mirrored at random",
    "shift": "the centre crop, mirrored at random, moved by whole pixels, up to an eighth of its side",
    "crop": "a random resized crop (8-100 % of the area, sides 3:4 to 4:3), mirrored at random",
    "affine": "the centre crop, rotated, moved, scaled and sheared a little, never mirrored: for glyphs and signs",
    "rand": "crop, then two random changes of shape or colour (RandAugment, magnitude 9 of 30)",
}
AREA = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)
TRIES = 10
ANGLE, SHIFT, SCALE, SHEAR = 15.0, 0.1, (0.9, 1.1), 5.0

WARPS = ("identity", "shear x", "shear y", "shift x", "shift y", "rotate")
OPERATIONS = (*WARPS, *COLOURS)
STRENGTH, STRONG = 9 / 30, 10 / 30  # of "rand", and of strong views
GRAY = 0.5

# which columns of a sample's random numbers mean what
_BOX, _MIRROR, _AFFINE, _RAND, _CUTOUT, _COUNT = 0, 22, 23, 28, 32, 34


def augment(
    images: Tensor,
    kind: str,
    size: int,
    *,
    seed: int,
    epoch: Tensor | int,
    sample: Tensor,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    strong: bool = False,
) -> Tensor:
    """Random views of a batch.

    `images` uint8 (B, C, H, W), C = 1 or 3; `sample` int64 (B,) and `epoch`, a number or int64 (B,), say which random
    numbers each image gets. Both may lie on the CPU while the images are on a GPU: then RandAugment chooses its groups
    without waiting for the GPU. "crop" and "rand" draw as torchvision's RandomResizedCrop does (ten tries, then the
    largest centre box of a fitting ratio) followed by a mirroring of half the images; "rand" is RandAugment (Cubuk
    2020, n = 2, m = 9) with its geometric operations composed into the crop's warp, before those on colour.

    `strong`: FixMatch's harder view (Sohn 2020, arXiv 2001.07685), from random numbers of its own: the geometry of the
    kind, two operations of RandAugment drawn for each image (those of "rand" at m = 10; none beside them), then a
    square of half the side around any pixel in mid gray. Always at full magnitude, where FixMatch draws that too.

    Raises UsageError for an unknown kind, ValueError for images smaller than a centre crop.
    """
    if kind not in KINDS:
        raise specs.nearest("augmentation", kind, KINDS)
    numbers = uniform(derive_seed(seed, "strong" if strong else "augment"), epoch, sample, _COUNT).double()
    if kind in ("none", "flip") and not strong:
        views = _centre(images, size).float() / 255
        if kind == "flip":
            turned = mirrored(seed, epoch, sample).to(images.device)
            views = torch.where(turned[:, None, None, None], views.flip(3), views)
        return normalised(views, mean, std)
    warp = _shown(images, kind, size, numbers)
    if kind != "rand" and not strong:
        return normalised(_warped(images, warp, size), mean, std)
    strength = STRONG if strong else STRENGTH
    chosen = (numbers[:, _RAND : _RAND + 2] * len(OPERATIONS)).long()
    signs = torch.where(numbers[:, _RAND + 2 : _RAND + 4] < 0.5, -1.0, 1.0)
    for turn in (0, 1):
        warp = _composed(warp, _geometric(chosen[:, turn], signs[:, turn], strength))
    views = _warped(images, warp, size)
    for turn in (0, 1):
        _colour(views, chosen[:, turn], signs[:, turn], strength)
    if strong:
        _cut_out(views, numbers[:, _CUTOUT : _CUTOUT + 2])
    return normalised(views, mean, std)


def mirrored(seed: int, epoch: Tensor | int, sample: Tensor) -> Tensor:
    """Which samples (B,) `augment` mirrors, where it mirrors at random: bool, where `sample` lies."""
    return uniform(derive_seed(seed, "augment"), epoch, sample, _MIRROR + 1)[:, _MIRROR] < 0.5


def evaluation_view(images: Tensor, size: int, mean: Sequence[float] = (), std: Sequence[float] = ()) -> Tensor:
    """The centre crop of a batch: uint8 (B, C, H, W) to float32 (B, C, size, size), in [0, 1] or normalised.

    Of images cached with `caching.cache_geometry` it is exactly what `decoding.view` gives. Raises ValueError for
    images smaller than the crop.
    """
    return normalised(_centre(images, size).float() / 255, mean, std)


def normalised(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(x - mean) / std, channel by channel; `images` (B, C, H, W) themselves where no mean is given."""
    if not mean:
        return images
    shape = (1, len(mean), 1, 1)
    centre = torch.tensor(mean, dtype=images.dtype, device=images.device).view(shape)
    return (images - centre) / torch.tensor(std, dtype=images.dtype, device=images.device).view(shape)


def _centre(images: Tensor, size: int) -> Tensor:
    left, top, _, _ = map(int, _centre_box(images, size)[0])
    return images[:, :, top : top + size, left : left + size]


def _centre_box(images: Tensor, size: int) -> Tensor:
    """Left, top, width, height of the centre crop, in pixels, as one row."""
    height, width = images.shape[2:]
    if min(height, width) < size:
        raise ValueError(f"no crop of {size} in images of {width} x {height}")
    return torch.tensor([[centred(width, size), centred(height, size), size, size]])


def _shown(images: Tensor, kind: str, size: int, numbers: Tensor) -> Tensor:
    """The map of a kind from its views to the images, (B, 3, 3), before any operation of RandAugment."""
    height, width = images.shape[2:]
    if kind in ("crop", "rand"):
        box = _random_box(numbers[:, _BOX:_MIRROR], height, width)
    else:
        box = _centre_box(images, size).to(numbers).repeat(len(numbers), 1)
    if kind == "shift":
        most = size // 8
        box[:, :2] += (numbers[:, _AFFINE + 1 : _AFFINE + 3] * (2 * most + 1)).floor() - most
    warp = _boxed(box, height, width)
    if kind == "affine":
        warp = _composed(warp, _wobble(numbers[:, _AFFINE:_RAND]))
    elif kind != "none":
        warp[:, 0, 0] *= torch.where(numbers[:, _MIRROR] < 0.5, -1.0, 1.0)
    return warp


def _random_box(numbers: Tensor, height: int, width: int) -> Tensor:
    """The box of a random resized crop, (B, 4), from 22 numbers a sample: areas, ratios, the place."""
    area = height * width * (AREA[0] + (AREA[1] - AREA[0]) * numbers[:, :TRIES])
    low, high = map(math.log, RATIO)
    ratio = torch.exp(low + (high - low) * numbers[:, TRIES : 2 * TRIES])
    wide, tall = torch.sqrt(area * ratio), torch.sqrt(area / ratio)
    fits = (wide <= width) & (tall <= height)
    first = fits & (fits.cumsum(1) == 1)
    none = ~fits.any(1)
    fallback = min(width, height * RATIO[1]), min(height, width / RATIO[0])
    wide = torch.where(none, fallback[0], (wide * first).sum(1))
    tall = torch.where(none, fallback[1], (tall * first).sum(1))
    place = torch.where(none[:, None], 0.5, numbers[:, 2 * TRIES :])
    return torch.stack([place[:, 0] * (width - wide), place[:, 1] * (height - tall), wide, tall], 1)


def _boxed(box: Tensor, height: int, width: int) -> Tensor:
    """The map from a view to the box of the image that it shows: (B, 3, 3), coordinates from -1 to 1."""
    left, top, wide, tall = box.unbind(1)
    matrix = _identity(len(box), box)
    matrix[:, 0, 0], matrix[:, 0, 2] = wide / width, (2 * left + wide) / width - 1
    matrix[:, 1, 1], matrix[:, 1, 2] = tall / height, (2 * top + tall) / height - 1
    return matrix


def _wobble(numbers: Tensor) -> Tensor:
    """The map of "affine", (B, 3, 3), from 5 numbers a sample: angle, shift across and down, scale, shear."""
    spread = 2 * numbers - 1
    angle, shear = torch.deg2rad(ANGLE * spread[:, 0]), torch.tan(torch.deg2rad(SHEAR * spread[:, 4]))
    scale = SCALE[0] + (SCALE[1] - SCALE[0]) * numbers[:, 3]
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    matrix = _identity(len(numbers), numbers)
    matrix[:, 0, 0], matrix[:, 0, 1] = cos, cos * shear - sin
    matrix[:, 1, 0], matrix[:, 1, 1] = sin, sin * shear + cos
    matrix[:, :2, 2] = 2 * SHIFT * spread[:, 1:3]  # the view is 2 wide
    return matrix


def _geometric(chosen: Tensor, signs: Tensor, strength: float) -> Tensor:
    """The maps of RandAugment's geometric operations, (B, 3, 3); the identity for those on colour."""

    def amount(name: str, value: float) -> Tensor:
        return torch.where(chosen == OPERATIONS.index(name), signs * value, 0.0).double()

    angle = amount("rotate", math.radians(30 * strength))
    matrix = _identity(len(chosen), angle)
    matrix[:, 0, 0] = matrix[:, 1, 1] = torch.cos(angle)
    matrix[:, 0, 1] = amount("shear x", 0.3 * strength) - torch.sin(angle)
    matrix[:, 1, 0] = amount("shear y", 0.3 * strength) + torch.sin(angle)
    matrix[:, 0, 2] = amount("shift x", 2 * 150 / 331 * strength)
    matrix[:, 1, 2] = amount("shift y", 2 * 150 / 331 * strength)
    return matrix


def _identity(count: int, like: Tensor) -> Tensor:
    return torch.eye(3, dtype=torch.float64, device=like.device).repeat(count, 1, 1)


def _composed(first: Tensor, second: Tensor) -> Tensor:
    """The product of two maps. Written out, because a library's product may round differently in another batch."""
    a, b = first, second
    return a[:, :, :1] * b[:, :1] + a[:, :, 1:2] * b[:, 1:2] + a[:, :, 2:] * b[:, 2:]


def _warped(images: Tensor, warp: Tensor, size: int) -> Tensor:
    """The views (B, C, size, size) in [0, 1] that a map takes from the images."""
    warp = warp.to(images.device, torch.float32)
    axis = ((2 * torch.arange(size, dtype=torch.float64) + 1) / size - 1).to(images.device, torch.float32)
    x, y = axis[None, None, :], axis[None, :, None]
    rows = [
        warp[:, row, 0, None, None] * x + warp[:, row, 1, None, None] * y + warp[:, row, 2, None, None]
        for row in (0, 1)
    ]
    grid = torch.stack(rows, 3)
    return functional.grid_sample(
        images.float() / 255, grid, mode="bilinear", padding_mode="border", align_corners=False
    )


def _colour(views: Tensor, chosen: Tensor, signs: Tensor, strength: float) -> None:
    """Apply the chosen colour operations in place, each to the group of images that drew it."""
    for name, operation in COLOURS.items():
        rows = (chosen == OPERATIONS.index(name)).nonzero().flatten()
        if len(rows):
            factor = (1 + signs[rows] * 0.9 * strength).to(views.device, torch.float32)[:, None, None, None]
            where = rows.to(views.device)
            views[where] = operation(views[where], factor, strength)


def _cut_out(views: Tensor, places: Tensor) -> None:
    """Gray a square in place, around the pixel at `places` (B, 2), across and down, in [0, 1): half the side wide."""
    size = views.shape[3]
    side = size // 2
    first = ((places * size).long() - side // 2).to(views.device)[:, :, None]
    pixel = torch.arange(size, device=views.device)
    across, down = ((first <= pixel) & (pixel < first + side)).unbind(1)
    views.masked_fill_((down[:, :, None] & across[:, None, :])[:, None], GRAY)
