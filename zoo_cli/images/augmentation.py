"""Augmented training views, made in batches on the device that holds the images.

Images are uint8 (B, C, H, W); views are float32 (B, C, size, size) in [0, 1], normalised if mean and standard deviation
are given. The view of a sample is a function of (seed, epoch, sample) alone, on a CPU bit for bit, whatever else is in
the batch. To that end parameters are computed in double precision and sums over pixels in integers.

All geometric changes are composed into one bilinear warp. It differs from Pillow's by design: a crop that is shrunk is
not averaged (images are cached near the size at which they are used), boxes need not begin at whole pixels, and the
border is repeated beyond the image.

Every number of a view is computed on the CPU (`plan_views`), so that a GPU gets all of them in one copy and is never
waited for; `apply_plan` then changes the images on their device.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from zoo_cli import specs
from zoo_cli.images.colours import COLOURS
from zoo_cli.images.decoding import centre_offset
from zoo_cli.images.packed_copy import move_together
from zoo_cli.images.random_numbers import derive_seed, uniform

KINDS = {
    "none": "the centre crop",
    "flip": "the centre crop, mirrored at random",
    "shift": "the centre crop, mirrored at random and shifted by whole pixels, up to an eighth of its side",
    "crop": "a random resized crop (8-100 % of the area, sides 3:4 to 4:3), mirrored at random",
    "affine": "the centre crop, slightly rotated, shifted, scaled and sheared, never mirrored",
    "rand": "crop, then two random operations on shape or colour (RandAugment, magnitude 9 of 30)",
}
AREA = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)
TRIES = 10
ANGLE, SHIFT, SCALE, SHEAR = 15.0, 0.1, (0.9, 1.1), 5.0

WARPS = ("identity", "shear x", "shear y", "shift x", "shift y", "rotate")
OPERATIONS = (*WARPS, *COLOURS)
STRENGTH, STRONG = 9 / 30, 10 / 30  # magnitude of "rand" and of strong views, as a share of RandAugment's largest
GRAY = 0.5

# The first column of a sample's random numbers for each use, and their count.
_BOX, _MIRROR, _AFFINE, _RAND, _CUTOUT, _COUNT = 0, 22, 23, 28, 32, 34


@dataclass(frozen=True)
class ViewPlan:
    """All that the views of a batch depend on besides its pixels.

    `numbers`, on the CPU, named "weak …" or "strong …" so that both views of a batch can be copied together: "flip"
    bool (B,) or "warp" float32 (B, 3, 3); for each of two turns "rows n" int64 (R,) of the images that change colour
    and "factors n" float32 (R,); "square" int64 (B, 2), left and top. `colours`: for each turn, the operations of
    consecutive rows and the ends of their parts of "rows n".
    """

    size: int
    strength: float
    name: str
    numbers: Mapping[str, Tensor]
    colours: tuple[tuple[tuple[str, int], ...], ...] = ()


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
    """Random views of a batch: float32 (B, C, size, size), in [0, 1] or normalised.

    `images`: uint8 (B, C, H, W), C = 1 or 3. The other arguments are those of `plan_views` and `normalise`.
    """
    height, width = images.shape[2:]
    plan = plan_views(kind, size, height, width, seed=seed, epoch=epoch, sample=sample, strong=strong)
    return apply_plan(images, plan, move_together(plan.numbers, images.device), mean, std)


def plan_views(
    kind: str,
    size: int,
    height: int,
    width: int,
    *,
    seed: int,
    epoch: Tensor | int,
    sample: Tensor,
    strong: bool = False,
) -> ViewPlan:
    """The numbers of random views of images (height, width).

    `kind`: a key of KINDS. `sample`, int64 (B,), and `epoch`, an integer or int64 (B,), both on the CPU, determine the
    random numbers of each image. "crop" and "rand" draw boxes as torchvision's RandomResizedCrop does (ten tries, then
    the largest centre box of a fitting ratio) and mirror half the images; "rand" is RandAugment (Cubuk 2020, n = 2,
    m = 9) with its geometric operations composed into the crop's warp, before its colour operations.

    `strong`: FixMatch's harder view (Sohn 2020, arXiv 2001.07685), from random numbers of its own: the geometry of the
    kind, then two operations of RandAugment for each image (m = 10; with "rand" they replace its own two), then a gray
    square of half the side centred on a random pixel. The magnitude is fixed; FixMatch draws it at random.

    Raises UsageError for an unknown kind, ValueError for images smaller than a centre crop.
    """
    if kind not in KINDS:
        raise specs.nearest("augmentation", kind, KINDS)
    strength, name = (STRONG, "strong") if strong else (STRENGTH, "weak")
    if kind in ("none", "flip") and not strong:
        _centre_box(height, width, size)
        flips = {f"{name} flip": draw_mirrored(seed, epoch, sample)} if kind == "flip" else {}
        return ViewPlan(size, strength, name, flips)
    random = uniform(derive_seed(seed, "strong" if strong else "augment"), epoch, sample, _COUNT).double()
    warp = _kind_warp(kind, size, height, width, random)
    numbers: dict[str, Tensor] = {}
    colours = []
    if kind == "rand" or strong:
        operations = (random[:, _RAND : _RAND + 2] * len(OPERATIONS)).long()
        signs = torch.where(random[:, _RAND + 2 : _RAND + 4] < 0.5, -1.0, 1.0)
        for turn in (0, 1):
            warp = _compose(warp, _operation_warp(operations[:, turn], signs[:, turn], strength))
            rows, parts = _group_by_colour(operations[:, turn])
            numbers[f"{name} rows {turn}"] = rows
            numbers[f"{name} factors {turn}"] = (1 + signs[rows, turn] * 0.9 * strength).float()
            colours.append(parts)
    if strong:
        numbers[f"{name} square"] = (random[:, _CUTOUT : _CUTOUT + 2] * size).long() - size // 2 // 2
    numbers[f"{name} warp"] = warp.float()
    return ViewPlan(size, strength, name, numbers, tuple(colours))


def apply_plan(
    images: Tensor,
    plan: ViewPlan,
    numbers: Mapping[str, Tensor],
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
) -> Tensor:
    """The views that a plan makes of images, uint8 (B, C, H, W): float32 (B, C, size, size), in [0, 1] or normalised.

    `numbers`: those of the plan, on the device of the images; others are ignored.
    """
    warp, flips = numbers.get(f"{plan.name} warp"), numbers.get(f"{plan.name} flip")
    if warp is None:
        views = _centre(images, plan.size).float() / 255
        return normalise(views if flips is None else _mirror(views, flips), mean, std)
    views = _apply_warp(images, warp, plan.size)
    for turn, parts in enumerate(plan.colours):
        rows, factors = numbers[f"{plan.name} rows {turn}"], numbers[f"{plan.name} factors {turn}"]
        begin = 0
        for operation, end in parts:
            part, factor = rows[begin:end], factors[begin:end, None, None, None]
            views[part] = COLOURS[operation](views[part], factor, plan.strength)
            begin = end
    if f"{plan.name} square" in numbers:
        _cut_out(views, numbers[f"{plan.name} square"])
    return normalise(views, mean, std)


def draw_mirrored(seed: int, epoch: Tensor | int, sample: Tensor) -> Tensor:
    """Which samples (B,) `augment` mirrors in its weak views of a mirroring kind: bool, on the device of `sample`."""
    return uniform(derive_seed(seed, "augment"), epoch, sample, _MIRROR + 1)[:, _MIRROR] < 0.5


def draw_crops(height: int, width: int, *, seed: int, epoch: Tensor | int, sample: Tensor) -> tuple[Tensor, Tensor]:
    """The boxes of "crop" in images of a size, left, top, width and height in pixels, and which views are mirrored.

    (B, 4) float64 and bool (B,), on the device of `sample`.
    """
    numbers = uniform(derive_seed(seed, "augment"), epoch, sample, _COUNT).double()
    return _random_box(numbers[:, _BOX:_MIRROR], height, width), numbers[:, _MIRROR] < 0.5


def evaluation_view(images: Tensor, size: int, mean: Sequence[float] = (), std: Sequence[float] = ()) -> Tensor:
    """The centre crop of a batch: uint8 (B, C, H, W) to float32 (B, C, size, size), in [0, 1] or normalised.

    On images cached with `pixel_cache.cache_geometry` it is exactly what `decoding.make_view` gives. Raises ValueError
    for images smaller than the crop.
    """
    return normalise(_centre(images, size).float() / 255, mean, std)


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(x - mean) / std of images (B, C, H, W), channel by channel; the images themselves if `mean` is empty."""
    if not mean:
        return images
    centre, spread = (_channel_constant(tuple(values), images.dtype, images.device) for values in (mean, std))
    return (images - centre) / spread


def _centre(images: Tensor, size: int) -> Tensor:
    height, width = images.shape[2:]
    left, top, _, _ = _centre_box(height, width, size)
    return images[:, :, top : top + size, left : left + size]


def _mirror(views: Tensor, flips: Tensor) -> Tensor:
    return torch.where(flips[:, None, None, None], views.flip(3), views)


def _centre_box(height: int, width: int, size: int) -> tuple[int, int, int, int]:
    """Left, top, width and height of the centre crop, in pixels."""
    if min(height, width) < size:
        raise ValueError(f"a crop of {size} does not fit images of {width} x {height}")
    return centre_offset(width, size), centre_offset(height, size), size, size


def _kind_warp(kind: str, size: int, height: int, width: int, numbers: Tensor) -> Tensor:
    """The map (B, 3, 3) from the views of a kind to the images, before any operation of RandAugment."""
    if kind in ("crop", "rand"):
        box = _random_box(numbers[:, _BOX:_MIRROR], height, width)
    else:
        box = torch.tensor([_centre_box(height, width, size)], dtype=torch.float64).repeat(len(numbers), 1)
    if kind == "shift":
        most = size // 8
        box[:, :2] += (numbers[:, _AFFINE + 1 : _AFFINE + 3] * (2 * most + 1)).floor() - most
    warp = _box_warp(box, height, width)
    if kind == "affine":
        warp = _compose(warp, _affine_warp(numbers[:, _AFFINE:_RAND]))
    elif kind != "none":
        warp[:, 0, 0] *= torch.where(numbers[:, _MIRROR] < 0.5, -1.0, 1.0)
    return warp


def _random_box(numbers: Tensor, height: int, width: int) -> Tensor:
    """Boxes (B, 4) of random resized crops, from 22 numbers per sample: 10 areas, 10 ratios, 2 for the position."""
    area = height * width * (AREA[0] + (AREA[1] - AREA[0]) * numbers[:, :TRIES])
    low, high = map(math.log, RATIO)
    ratio = torch.exp(low + (high - low) * numbers[:, TRIES : 2 * TRIES])
    wide, tall = torch.sqrt(area * ratio), torch.sqrt(area / ratio)
    fits = (wide <= width) & (tall <= height)
    first = fits & (fits.cumsum(1) == 1)
    none_fits = ~fits.any(1)
    fallback = min(width, height * RATIO[1]), min(height, width / RATIO[0])
    wide = torch.where(none_fits, fallback[0], (wide * first).sum(1))
    tall = torch.where(none_fits, fallback[1], (tall * first).sum(1))
    position = torch.where(none_fits[:, None], 0.5, numbers[:, 2 * TRIES :])
    return torch.stack([position[:, 0] * (width - wide), position[:, 1] * (height - tall), wide, tall], 1)


def _box_warp(box: Tensor, height: int, width: int) -> Tensor:
    """The map (B, 3, 3) from views to their boxes (B, 4) of the images; coordinates run from -1 to 1."""
    left, top, wide, tall = box.unbind(1)
    matrix = _identity(len(box))
    matrix[:, 0, 0], matrix[:, 0, 2] = wide / width, (2 * left + wide) / width - 1
    matrix[:, 1, 1], matrix[:, 1, 2] = tall / height, (2 * top + tall) / height - 1
    return matrix


def _affine_warp(numbers: Tensor) -> Tensor:
    """The map (B, 3, 3) of "affine", from 5 numbers per sample: angle, shift across and down, scale, shear."""
    spread = 2 * numbers - 1
    angle, shear = torch.deg2rad(ANGLE * spread[:, 0]), torch.tan(torch.deg2rad(SHEAR * spread[:, 4]))
    scale = SCALE[0] + (SCALE[1] - SCALE[0]) * numbers[:, 3]
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    matrix = _identity(len(numbers))
    matrix[:, 0, 0], matrix[:, 0, 1] = cos, cos * shear - sin
    matrix[:, 1, 0], matrix[:, 1, 1] = sin, sin * shear + cos
    matrix[:, :2, 2] = 2 * SHIFT * spread[:, 1:3]  # coordinates span 2
    return matrix


def _operation_warp(operations: Tensor, signs: Tensor, strength: float) -> Tensor:
    """The maps (B, 3, 3) of RandAugment's operations (B,), with signs (B,); the identity for colour operations."""

    def amount(name: str, value: float) -> Tensor:
        return torch.where(operations == OPERATIONS.index(name), signs * value, 0.0).double()

    angle = amount("rotate", math.radians(30 * strength))
    matrix = _identity(len(operations))
    matrix[:, 0, 0] = matrix[:, 1, 1] = torch.cos(angle)
    matrix[:, 0, 1] = amount("shear x", 0.3 * strength) - torch.sin(angle)
    matrix[:, 1, 0] = amount("shear y", 0.3 * strength) + torch.sin(angle)
    matrix[:, 0, 2] = amount("shift x", 2 * 150 / 331 * strength)
    matrix[:, 1, 2] = amount("shift y", 2 * 150 / 331 * strength)
    return matrix


def _identity(count: int) -> Tensor:
    return torch.eye(3, dtype=torch.float64).repeat(count, 1, 1)


def _compose(a: Tensor, b: Tensor) -> Tensor:
    """The product of two maps (B, 3, 3), written out: a library's product may round differently in another batch."""
    return a[:, :, :1] * b[:, :1] + a[:, :, 1:2] * b[:, 1:2] + a[:, :, 2:] * b[:, 2:]


def _apply_warp(images: Tensor, warp: Tensor, size: int) -> Tensor:
    """The views (B, C, size, size), in [0, 1], that maps (B, 3, 3) sample from the images."""
    axis = _pixel_centres(size, images.device)
    x, y = axis[None, None, :], axis[None, :, None]
    rows = [
        warp[:, row, 0, None, None] * x + warp[:, row, 1, None, None] * y + warp[:, row, 2, None, None]
        for row in (0, 1)
    ]
    grid = torch.stack(rows, 3)
    return functional.grid_sample(
        images.float() / 255, grid, mode="bilinear", padding_mode="border", align_corners=False
    )


def _group_by_colour(operations: Tensor) -> tuple[Tensor, tuple[tuple[str, int], ...]]:
    """The rows (R,) whose entry in `operations` (B,) is of colour, by operation; the operations and where each ends."""
    order = torch.argsort(operations, stable=True)
    ends = torch.searchsorted(operations[order], torch.arange(len(OPERATIONS)), right=True).tolist()
    first = ends[len(WARPS) - 1]
    parts = zip(COLOURS, ends[len(WARPS) - 1 :], ends[len(WARPS) :], strict=False)
    return order[first:], tuple((name, end - first) for name, begin, end in parts if begin < end)


def _cut_out(views: Tensor, first: Tensor) -> None:
    """Fill, in place, squares of half the side with gray; `first` (B, 2): their first column and row."""
    size = views.shape[3]
    pixel = torch.arange(size, device=views.device)
    across, down = ((first[:, :, None] <= pixel) & (pixel < first[:, :, None] + size // 2)).unbind(1)
    views.masked_fill_((down[:, :, None] & across[:, None, :])[:, None], GRAY)


# Constants are on each device once: a copy to a GPU waits for the work that is queued there.
@lru_cache(maxsize=64)
def _channel_constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """One value a channel: (1, C, 1, 1)."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype).view(1, len(values), 1, 1).to(device)


@lru_cache(maxsize=64)
def _pixel_centres(size: int, device: torch.device) -> Tensor:
    """The centres of `size` pixels on an axis from -1 to 1: float32 (size,)."""
    with torch.inference_mode(False):
        return ((2 * torch.arange(size, dtype=torch.float64) + 1) / size - 1).float().to(device)
