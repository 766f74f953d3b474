"""The interface of objectives, and the simplest one: cross-entropy with labels (paper 000, eq. 2)."""

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Batch:
    """The data of one step. The first rows of `images` are the labelled ones.

    `images` (B, channels, H, W), floating point; `labels` (Bl,) int64 in [0, C), Bl <= B; `targets` (B - Bl, sum K):
    the stored class probabilities of all sources, side by side, for the rows without labels, float16, 32 or 64;
    `strong` (B - Bl, channels, H, W): strongly augmented views of the rows without labels; `teacher_logits` (M, B, C):
    the stored logits of M teachers, in the student's class order, for every row; `domain`: the number of the domain
    that all rows are of, None for a student of one domain.
    """

    images: Tensor
    labels: Tensor
    targets: Tensor | None = None
    strong: Tensor | None = None
    teacher_logits: Tensor | None = None
    domain: int | None = None

    def to(self, device: torch.device, order: torch.memory_format = torch.preserve_format) -> Self:
        """The same batch on a device, its images in a memory order."""
        tensors: dict[str, Any] = {name: tensor for name, tensor in vars(self).items() if isinstance(tensor, Tensor)}
        return dataclasses.replace(
            self,
            **{
                name: tensor.to(
                    device,
                    non_blocking=True,
                    memory_format=order if name in ("images", "strong") else torch.preserve_format,
                )
                for name, tensor in tensors.items()
            },
        )


class Objective(nn.Module, ABC):
    """What training minimises. Its parameters, temporary heads, train with the student and are discarded.

    State that must survive an interruption is a parameter or a buffer. A teacher, which only makes predictions, must be
    neither: hold it in a tuple, and it stays in eval mode and out of the checkpoints.
    """

    @abstractmethod
    def loss(self, student: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss () of one batch, and the terms to log with it, each () and detached.

        `student(images)` returns the features (B, D) that its head reads, and its logits (B, C).
        """

    @classmethod
    def check(cls, steps: int, **parameters: Any) -> None:
        """Raise UsageError for parameters out of range, and for a run of `steps` that is too short for them."""

    def summarize_means(self, means: dict[str, float]) -> dict[str, float]:
        """A row of the log, from the means of the terms since the last row: the means, and values derived from them."""
        return means

    def after_step(self, student: nn.Module, step: int) -> None:
        """Called after step number `step`, counted from 1, under no_grad, to average weights for example."""

    def finish(self, student: nn.Module) -> None:
        """Called after the last step and checkpoint, under no_grad, to install averaged weights for example."""


class Supervised(Objective):
    """Mean cross-entropy of the labelled rows; other rows only pass through the student."""

    def loss(self, student: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Logs `labelled_loss` and `labelled_accuracy`, a fraction."""
        _, logits = student(batch.images)
        return compute_labelled_loss(logits, batch.labels)


def compute_labelled_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean cross-entropy () of the first rows of `logits` (B, C) with `labels` (Bl,), in float32 at least, and the
    terms `labelled_loss` and `labelled_accuracy`, a fraction. Raises ValueError without labelled rows.
    """
    if not len(labels):
        raise ValueError("the batch has no labelled rows")
    logits = upcast(logits[: len(labels)])
    loss = nn.functional.cross_entropy(logits, labels)
    accuracy = (logits.argmax(1) == labels).float().mean()
    return loss, {"labelled_loss": loss.detach(), "labelled_accuracy": accuracy}


def upcast(logits: Tensor) -> Tensor:
    """The same numbers in float32 at least: softmax and sums lose too many digits in the half types of autocast."""
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
