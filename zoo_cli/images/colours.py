"""RandAugment's changes of colour (Cubuk 2020, as torchvision has them), on batches, without a sum that rounds.

Each takes views float32 (B, C, H, W) in [0, 1], a factor (B, 1, 1, 1) around 1 and the strength in [0, 1], and gives
new ones in [0, 1]; it uses the one of both that its operation has.
"""

from collections.abc import Callable

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # of ITU-R 601-2, as images are decoded


def _brightness(x: Tensor, factor: Tensor, _: float) -> Tensor:
    return (x * factor).clamp(0, 1)


def _saturation(x: Tensor, factor: Tensor, _: float) -> Tensor:
    return _blended(_gray(x), x, factor)


def _contrast(x: Tensor, factor: Tensor, _: float) -> Tensor:
    level = _levels(_gray(x)).sum((1, 2, 3), keepdim=True) / x[0, 0].numel() / 255
    return _blended(level, x, factor)


def _sharpness(x: Tensor, factor: Tensor, _: float) -> Tensor:
    """Blended with a blur of the inner pixels; the outermost row and column stay as they are."""
    blurred = x.clone()
    height, width = x.shape[2:]
    near = [x[:, :, i : height - 2 + i, j : width - 2 + j] for i in range(3) for j in range(3)]
    total = 4 * near[4]
    for part in near:
        total = total + part
    blurred[:, :, 1:-1, 1:-1] = total / 13
    return _blended(blurred, x, factor)


def _posterise(x: Tensor, _: Tensor, strength: float) -> Tensor:
    lost = round(4 * strength)
    return (_levels(x) >> lost << lost).float() / 255


def _solarise(x: Tensor, _: Tensor, strength: float) -> Tensor:
    return torch.where(x >= 1 - strength, 1 - x, x)


def _autocontrast(x: Tensor, _: Tensor, __: float) -> Tensor:
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    return torch.where(high > low, (x - low) / (high - low).clamp_min(1e-6), x)


def _equalise(x: Tensor, _: Tensor, __: float) -> Tensor:
    """Every channel's levels spread evenly, as Pillow's equalize; a channel of one level stays."""
    levels = _levels(x).flatten(0, 1).flatten(1)
    channels, pixels = levels.shape
    offset = 256 * torch.arange(channels, device=x.device)[:, None]
    counts = torch.bincount((levels + offset).flatten(), minlength=256 * channels).view(channels, 256)
    step = (pixels - counts.gather(1, levels.amax(1, keepdim=True))) // 255
    table = (counts.cumsum(1) - counts + step // 2) // step.clamp_min(1)
    spread = table.clamp(0, 255).gather(1, levels)
    return (torch.where(step > 0, spread, levels).float() / 255).view_as(x)


def _gray(x: Tensor) -> Tensor:
    if x.shape[1] == 1:
        return x
    return LUMA[0] * x[:, :1] + LUMA[1] * x[:, 1:2] + LUMA[2] * x[:, 2:]


def _levels(x: Tensor) -> Tensor:
    """Whole numbers 0 to 255: their sums are exact, so they do not depend on the order of summation."""
    return (x * 255).round().long()


def _blended(a: Tensor, b: Tensor, factor: Tensor) -> Tensor:
    """b where the factor is 1, a where it is 0, beyond b above 1."""
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
