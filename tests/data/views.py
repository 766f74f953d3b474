"""Batches of smooth random pictures, and views of them with random numbers of a test's choice."""

import pytest
import torch
from torch import Tensor

from zoo_cli.images import augmentation, random_numbers
from zoo_cli.images.augmentation import OPERATIONS, augment

COUNT = 96


def batch(count: int = COUNT, channels: int = 3, height: int = 40, width: int = 40) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 256, (count, channels, 6, 6), generator=generator).float()
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear").round().to(torch.uint8)


def views(
    images: Tensor, kind: str, size: int = 32, *, seed: int = 1, epoch: int = 0, first: int = 0, **more: object
) -> Tensor:
    sample = torch.arange(first, first + len(images))
    return augment(images, kind, size, seed=seed, epoch=epoch, sample=sample, **more)  # type: ignore[arg-type]


def set_columns(monkeypatch: pytest.MonkeyPatch, columns: dict[int, float]) -> None:
    """Some columns of every sample's random numbers are these; the others stay random."""

    def numbers(seed: int, epoch: Tensor | int, sample: Tensor, count: int) -> Tensor:
        found = random_numbers.uniform(seed, epoch, sample, count)
        for column, value in columns.items():
            found[:, column] = value
        return found

    monkeypatch.setattr(augmentation, "uniform", numbers)


def choosing(first: str, second: str = "identity") -> dict[int, float]:
    """The columns with which RandAugment draws these two operations."""
    return {
        augmentation._RAND + turn: (OPERATIONS.index(name) + 0.5) / len(OPERATIONS)
        for turn, name in enumerate((first, second))
    }
