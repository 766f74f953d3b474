"""The context of objectives of general transfer: teachers of the student's own label space (paper 002)."""

import math
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from zoo_cli.errors import UsageError
from zoo_cli.objectives.supervised import Batch


@dataclass(frozen=True)
class TeacherContext:
    """Teachers and the original student, in eval mode, on the device of the student that trains.

    `teachers` (M,): each computes logits (B, C) of the images as the student sees them, in the student's class order;
    empty if the batches have stored `teacher_logits`. `original`: a copy of the student before the first step, which
    returns features and logits like the student. The logits of all are float32, from heads that autocast leaves out:
    in bfloat16 many would be equal. `steps`: length of the run. `temperature`: T of every KL divergence. Raises
    UsageError for a temperature that is not positive.
    """

    teachers: tuple[nn.Module, ...]
    original: nn.Module
    steps: int
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise UsageError(f"temperature={self.temperature:g} is not positive", "1 leaves the logits unchanged")

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself: nothing in it trains, so that copies of an objective share one set of networks."""
        return self


def compute_teacher_logits(context: TeacherContext, batch: Batch) -> Tensor:
    """The teachers' logits (M, B, C) of a batch, without gradient: the stored ones if there are any."""
    if batch.teacher_logits is not None:
        return batch.teacher_logits
    with torch.no_grad():
        return torch.stack([teacher(batch.images) for teacher in context.teachers])


def compute_single_teacher_logits(context: TeacherContext, batch: Batch) -> Tensor:
    """The logits (B, C) of the only teacher. Raises ValueError if there are several, or none."""
    logits = compute_teacher_logits(context, batch)
    if len(logits) != 1:
        raise ValueError(f"{len(logits)} teachers, expected one")
    return logits[0]


def compute_original_logits(context: TeacherContext, batch: Batch) -> Tensor:
    """The logits (B, C) of the original student on the same images, without gradient."""
    with torch.no_grad():
        _, logits = context.original(batch.images)
    return logits  # type: ignore[no-any-return]


def require_one_teacher(context: TeacherContext) -> TeacherContext:
    """The context itself. Raises ValueError if it has several teachers."""
    if len(context.teachers) > 1:
        raise ValueError(f"{len(context.teachers)} teachers, expected one")
    return context


def check_fraction(name: str, value: float, hint: str) -> float:
    """The value of the parameter `name`. Raises UsageError if it lies outside [0, 1]."""
    if not 0 <= value <= 1:
        raise UsageError(f"{name}={value:g} is not between 0 and 1", hint)
    return value
