"""Small tensors that go to a GPU together: one copy from pinned memory, for which the CPU does not wait."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

ALIGNMENT = 16
"""Bytes to which every tensor of a block is aligned; a multiple of the size of every dtype."""


def move_together(tensors: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Tensors of the CPU, of any dtypes and shapes, by name on a device: contiguous views of one block on a GPU.

    On the CPU they are themselves. The copy is ordered before what the current stream does next.
    """
    if device.type != "cuda" or not tensors:
        return {name: tensor.to(device) for name, tensor in tensors.items()}
    ends: list[int] = []
    for tensor in tensors.values():
        begin = -(-ends[-1] // ALIGNMENT) * ALIGNMENT if ends else 0
        ends.append(begin + tensor.nbytes)
    block = empty_pinned((ends[-1],), torch.uint8)
    for tensor, end in zip(tensors.values(), ends, strict=True):
        _part(block, tensor, end).copy_(tensor)
    moved = block.to(device, non_blocking=True)
    return {name: _part(moved, tensor, end) for (name, tensor), end in zip(tensors.items(), ends, strict=True)}


def empty_pinned(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """An uninitialised tensor in pinned RAM, from which a GPU copies in the background.

    torch keeps such memory for the next tensor, and gives it out again once the copies from it are done: only the first
    batches pay for pinning.
    """
    return torch.empty(tuple(shape), dtype=dtype, pin_memory=True)


def _part(block: Tensor, like: Tensor, end: int) -> Tensor:
    """The bytes of a block that end at `end`, as a tensor of the dtype and shape of another."""
    return block[end - like.nbytes : end].view(like.dtype).view(like.shape)
