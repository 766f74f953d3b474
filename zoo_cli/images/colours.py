"""RandAugment's colour operations (Cubuk 2020, as in torchvision), on batches, with sums in exact arithmetic.

Each takes views float32 (B, C, H, W) in [0, 1], a factor (B, 1, 1, 1) around 1 and a strength in [0, 1], and returns
new views in [0, 1]. An operation uses either the factor or the strength, or neither.
"""

from collections.abc import Callable

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R 601-2, as in decoding


def _brightness(x: Tensor, factor: Tensor, _: float) -> Tensor:
    return (x * factor).clamp(0, 1)


def _saturation(x: Tensor, factor: Tensor, _: float) -> Tensor:
    return _blend(_gray(x), x, factor)


def _contrast(x: Tensor, factor: Tensor, _: float) -> Tensor:
    level = _levels(_gray(x)).sum((1, 2, 3), keepdim=True) / x[0, 0].numel() / 255
    return _blend(level, x, factor)


def _sharpness(x: Tensor, factor: Tensor, _: float) -> Tensor:
    """Blend with a blur of the inner pixels; the outermost rows and columns stay as they are."""
    blurred = x.clone()
    height, width = x.shape[2:]
    neighbours = [x[:, :, i : height - 2 + i, j : width - 2 + j] for i in range(3) for j in range(3)]
    total = 4 * neighbours[4]
    for neighbour in neighbours:
        total = total + neighbour
    blurred[:, :, 1:-1, 1:-1] = total / 13
    return _blend(blurred, x, factor)


def _posterise(x: Tensor, _: Tensor, strength: float) -> Tensor:
    bits = round(4 * strength)
    return (_levels(x) >> bits << bits).float() / 255


def _solarise(x: Tensor, _: Tensor, strength: float) -> Tensor:
    return torch.where(x >= 1 - strength, 1 - x, x)


def _autocontrast(x: Tensor, _: Tensor, __: float) -> Tensor:
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    return torch.where(high > low, (x - low) / (high - low).clamp_min(1e-6), x)


def _equalise(x: Tensor, _: Tensor, __: float) -> Tensor:
    """Equalise the histogram of every channel, as Pillow's equalize; a channel with one level stays as it is."""
    levels = _levels(x).flatten(0, 1).flatten(1)
    channels, pixels = levels.shape
    # Not bincount, which reads the largest level from a GPU; sums of integers do not depend on their order.
    counts = torch.zeros(channels, 256, dtype=torch.int64, device=x.device)
    counts.scatter_add_(1, levels, torch.ones((), dtype=torch.int64, device=x.device).expand_as(levels))
    step = (pixels - counts.gather(1, levels.amax(1, keepdim=True))) // 255
    table = (counts.cumsum(1) - counts + step // 2) // step.clamp_min(1)
    spread = table.clamp(0, 255).gather(1, levels)
    return (torch.where(step > 0, spread, levels).float() / 255).view_as(x)


def _gray(x: Tensor) -> Tensor:
    if x.shape[1] == 1:
        return x
    return LUMA[0] * x[:, :1] + LUMA[1] * x[:, 1:2] + LUMA[2] * x[:, 2:]


def _levels(x: Tensor) -> Tensor:
    """Integers 0 to 255: their sums are exact, so they do not depend on the order of summation."""
    return (x * 255).round().long()


def _blend(a: Tensor, b: Tensor, factor: Tensor) -> Tensor:
    """a for a factor of 0, b for 1, extrapolated beyond b above 1; clamped to [0, 1]."""
    return (a * (1 - factor) + b * factor).clamp(0, 1)


COLOURS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "brightness": _brightness,
    "saturation": _saturation,
    "contrast": _contrast,
    "sharpness": _sharpness,
    "posterise": _posterise,
    "solarise": _solarise,
    "autocontrast": _autocontrast,
    "equalise": _equalise,
}
