"""Shared by both implementations of the segmented loss: the layout of the sources, and the weight of a column."""

import functools
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["softmax", "sigmoid"]

Pieces = tuple[Tensor, Tensor | None]
"""(2, S): the loss of each source and the entropy of its targets; and the gradient (B, sum K) of the weighted loss."""


def check_segments(offsets: Sequence[int], alpha: Sequence[float], kinds: Sequence[Kind]) -> None:
    """Raise ValueError unless these describe the same sources, at least one, each with classes and a weight >= 0."""
    if not len(offsets) - 1 == len(alpha) == len(kinds) > 0:
        raise ValueError(f"{len(offsets) - 1} sources, {len(alpha)} weights, {len(kinds)} kinds")
    if offsets[0] != 0 or any(a >= b for a, b in pairwise(offsets)):
        raise ValueError(f"offsets {offsets} do not rise from 0")
    if not all(0 <= a < float("inf") for a in alpha) or not set(kinds) <= {"softmax", "sigmoid"}:
        raise ValueError(f"weights {alpha}, kinds {kinds}")


def column_shares(offsets: tuple[int, ...], kinds: tuple[Kind, ...], rows: int) -> tuple[float, ...]:
    """The weight of one entry of each source in its mean: over the rows, for a sigmoid source over its classes too."""
    sizes = (b - a for a, b in pairwise(offsets))
    return tuple(1 / (rows * (size if kind == "sigmoid" else 1)) for size, kind in zip(sizes, kinds, strict=True))


@functools.lru_cache(maxsize=64)
def constant_tensor(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A cached tensor (len(values),), read-only: copying it to the GPU at every step would wait for the GPU."""
    return torch.tensor(values, dtype=dtype, device=device)
