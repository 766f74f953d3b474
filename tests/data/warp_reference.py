"""Batches to augment, views with chosen random numbers, and torchvision's operations as their reference."""

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode, functional

from zoo_cli.images import augmentation, random_numbers
from zoo_cli.images.augmentation import OPERATIONS, augment

COUNT = 96


def random_batch(count: int = COUNT, channels: int = 3, height: int = 40, width: int = 40) -> Tensor:
    """Smooth random images: uint8 (count, channels, height, width)."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 256, (count, channels, 6, 6), generator=generator).float()
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear").round().to(torch.uint8)


def make_views(
    images: Tensor, kind: str, size: int = 32, *, seed: int = 1, epoch: int = 0, first: int = 0, **options: object
) -> Tensor:
    """The augmented views of images whose samples are numbered from `first`."""
    sample = torch.arange(first, first + len(images))
    return augment(images, kind, size, seed=seed, epoch=epoch, sample=sample, **options)  # type: ignore[arg-type]


def fix_columns(monkeypatch: pytest.MonkeyPatch, columns: dict[int, float]) -> None:
    """Fix some columns of every sample's random numbers; the others stay random."""

    def uniform(seed: int, epoch: Tensor | int, sample: Tensor, count: int) -> Tensor:
        numbers = random_numbers.uniform(seed, epoch, sample, count)
        for column, value in columns.items():
            numbers[:, column] = value
        return numbers

    monkeypatch.setattr(augmentation, "uniform", uniform)


def operation_columns(first: str, second: str = "identity") -> dict[int, float]:
    """The columns with which RandAugment draws these two operations."""
    return {
        augmentation._RAND + turn: (OPERATIONS.index(name) + 0.5) / len(OPERATIONS)
        for turn, name in enumerate((first, second))
    }


def reference_colour(images: Tensor, operation: str, factor: float, threshold: float) -> Tensor:
    """torchvision's colour operation on uint8 images; `threshold` is of "solarise", in levels."""
    return {
        "brightness": lambda: functional.adjust_brightness(images, factor),
        "saturation": lambda: functional.adjust_saturation(images, factor),
        "contrast": lambda: functional.adjust_contrast(images, factor),
        "sharpness": lambda: functional.adjust_sharpness(images, factor),
        "posterise": lambda: functional.posterize(images, 7),
        "solarise": lambda: functional.solarize(images, threshold),
        "autocontrast": lambda: functional.autocontrast(images),
        "equalise": lambda: functional.equalize(images),
    }[operation]()


def reference_warp(images: Tensor, angle: float, shift: list[float], shear: list[float]) -> Tensor:
    """torchvision's affine warp of images: `angle` and `shear` in degrees, `shift` in pixels."""
    bilinear = InterpolationMode.BILINEAR
    return functional.affine(images.float(), angle, shift, 1.0, shear, interpolation=bilinear)  # type: ignore[arg-type]
