"""What an objective is, and the plainest one: cross-entropy with labels (paper 000, eq. 2)."""

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Batch:
    """What a step learns from. The first rows of `images` are the labelled ones.

    `images` (B, channels, H, W), floating point; `labels` (Bl,) int64 in [0, C), Bl <= B; `targets` (B - Bl, sum K):
    the stored class probabilities of every source, side by side, for the rows without labels, float16, 32 or 64;
    `strong` (B - Bl, channels, H, W): other, harder views of the rows without labels; `answers` (M, B, C): the stored
    logits of M teachers, in the student's class order, for every row.
    """

    images: Tensor
    labels: Tensor
    targets: Tensor | None = None
    strong: Tensor | None = None
    answers: Tensor | None = None

    def to(self, device: torch.device) -> Self:
        """The same batch there; images in the memory order that convolutions on a GPU prefer."""
        order = torch.channels_last if device.type == "cuda" else torch.preserve_format
        held = {name: tensor for name, tensor in vars(self).items() if tensor is not None}
        return dataclasses.replace(
            self,
            **{
                name: tensor.to(
                    device,
                    non_blocking=True,
                    memory_format=order if name in ("images", "strong") else torch.preserve_format,
                )
                for name, tensor in held.items()
            },
        )


class Objective(nn.Module, ABC):
    """What training minimises. Its parameters, throw-away heads, learn with the student and are left behind.

    Whatever must outlive an interruption is a parameter or a buffer. A network that is only asked, a teacher, belongs
    in neither: hold it in a tuple, and it stays in eval mode and out of the checkpoints.
    """

    @abstractmethod
    def loss(self, student: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss () and what the log shows beside it, each () and detached, of one batch.

        `student(images)` gives the features (B, D) that its head reads, and its logits (B, C).
        """

    @classmethod
    def check(cls, steps: int, **parameters: Any) -> None:
        """Raise UsageError for parameters out of range, and for a run of `steps` that is too short for them."""

    def told(self, means: dict[str, float]) -> dict[str, float]:
        """What a row of the log says, of the means of the terms since the last row: themselves, and what follows."""
        return means

    def after_step(self, student: nn.Module, step: int) -> None:
        """What follows step number `step`, counted from 1, under no_grad: nothing, unless weights are averaged."""

    def finish(self, student: nn.Module) -> None:
        """What follows the last step, under no_grad, behind the last checkpoint: averaged weights take their place."""


class Supervised(Objective):
    """Mean cross-entropy of the labelled rows; the other rows only pass through the student."""

    def loss(self, student: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Logs `labelled_loss` and `labelled_accuracy`, a fraction."""
        _, logits = student(batch.images)
        return labelled(logits, batch.labels)


def labelled(logits: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean cross-entropy () of the first rows of `logits` (B, C) with `labels` (Bl,), computed in float32 at least.

    Logs `labelled_loss` and `labelled_accuracy`, a fraction. Raises ValueError without a labelled row.
    """
    if not len(labels):
        raise ValueError("the batch has no labelled row")
    logits = precise(logits[: len(labels)])
    loss = nn.functional.cross_entropy(logits, labels)
    accuracy = (logits.argmax(1) == labels).float().mean()
    return loss, {"labelled_loss": loss.detach(), "labelled_accuracy": accuracy}


def precise(logits: Tensor) -> Tensor:
    """The same numbers in float32 at least: softmax and sums lose too much in the short types of autocast."""
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
