"""What objectives of general transfer are given: teachers of the student's own label space (paper 002)."""

import math
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from zoo_cli.errors import UsageError
from zoo_cli.objectives.supervised import Batch


@dataclass(frozen=True)
class TeacherContext:
    """Teachers and student before the first step, all in eval mode but the student that learns, on one device.

    `teachers` (M,): each gives logits (B, C) of the images as the student sees them, in the student's class order;
    empty where the batches bring their stored `answers`. `original`: a copy of the student as it was, which gives
    features and logits as the student does. `steps`: length of the run. `temperature`: T of every KL divergence.
    Raises UsageError for a temperature that is not positive.
    """

    teachers: tuple[nn.Module, ...]
    original: nn.Module
    steps: int
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise UsageError(f"--kd-temperature {self.temperature:g} is not positive", "1 leaves answers as they are")

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself: nothing in it learns, so a copy of an objective asks the same networks, held once."""
        return self


def teacher_logits(taught: TeacherContext, batch: Batch) -> Tensor:
    """The teachers' logits (M, B, C) of a batch, without gradient: stored ones, else asked now."""
    if batch.answers is not None:
        return batch.answers
    with torch.no_grad():
        return torch.stack([teacher(batch.images) for teacher in taught.teachers])


def single_teacher_logits(taught: TeacherContext, batch: Batch) -> Tensor:
    """The logits (B, C) of the one teacher. Raises ValueError where there are several, or none."""
    found = teacher_logits(taught, batch)
    if len(found) != 1:
        raise ValueError(f"{len(found)} teachers where one is asked for")
    return found[0]


def original_logits(taught: TeacherContext, batch: Batch) -> Tensor:
    """The logits (B, C) of the student as it was, on the same images, without gradient."""
    with torch.no_grad():
        _, logits = taught.original(batch.images)
    return logits  # type: ignore[no-any-return]


def require_one_teacher(taught: TeacherContext) -> TeacherContext:
    """The same, where there is at most one teacher. Raises ValueError for several."""
    if len(taught.teachers) > 1:
        raise ValueError(f"{len(taught.teachers)} teachers where one is asked for")
    return taught


def check_fraction(name: str, value: float, hint: str) -> float:
    """The value of the parameter `name`. Raises UsageError outside [0, 1]."""
    if not 0 <= value <= 1:
        raise UsageError(f"{name}={value:g} is not between 0 and 1", hint)
    return value
