"""What objectives of general transfer are given: teachers of the student's own label space (paper 002)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo_cli.objectives.supervised import Batch


@dataclass(frozen=True)
class Taught:
    """Teachers and student before the first step, all in eval mode but the student that learns, on one device.

    `teachers` (M,): each gives logits (B, C) of the images as the student sees them, in the student's class order;
    empty where the batches bring their stored `answers`. `original`: a copy of the student as it was, which gives
    features and logits as the student does. `steps`: length of the run. `temperature`: T of every KL divergence.
    """

    teachers: tuple[nn.Module, ...]
    original: nn.Module
    steps: int
    temperature: float = 1.0


def answers(taught: Taught, batch: Batch) -> Tensor:
    """The teachers' logits (M, B, C) of a batch, without gradient: stored ones, else asked now."""
    if batch.answers is not None:
        return batch.answers
    with torch.no_grad():
        return torch.stack([teacher(batch.images) for teacher in taught.teachers])
