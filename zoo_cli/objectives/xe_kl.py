"""Distillation from one teacher, and the labels (paper 002, XE-KL-Dist)."""

from typing import Any

from torch import Tensor, nn

from zoo_cli.objectives import teacher_context
from zoo_cli.objectives.kl import divergences
from zoo_cli.objectives.supervised import Batch, Objective, labelled
from zoo_cli.objectives.teacher_context import TeacherContext


class XeKL(Objective):
    """alpha * KL + (1 - alpha) * CE, the KL divergence of `KL` over all rows, CE over the labelled rows.

    CE takes the student's logits. The public code of the paper gives it probabilities, a second softmax, which we take
    for a slip.
    """

    def __init__(self, taught: TeacherContext, *, alpha: float = 0.5):
        """Raises UsageError for alpha outside [0, 1], ValueError for several teachers."""
        super().__init__()
        self.taught = teacher_context.require_one_teacher(taught)
        self.check(taught.steps, alpha=alpha)
        self.alpha = alpha

    @classmethod
    def check(cls, steps: int, **parameters: Any) -> None:  # noqa: ARG003 - an objective's signature
        """Raise UsageError for alpha outside [0, 1]."""
        teacher_context.check_fraction("xe-kl:alpha", parameters["alpha"], "1 is all teacher, 0 all labels")

    def loss(self, student: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Logs `labelled_loss`, `labelled_accuracy` and `distillation_kl`. Raises ValueError without a label."""
        _, logits = student(batch.images)
        kl = divergences(
            logits, teacher_context.single_teacher_logits(self.taught, batch), self.taught.temperature
        ).mean()
        loss, terms = labelled(logits, batch.labels)
        return self.alpha * kl + (1 - self.alpha) * loss, {**terms, "distillation_kl": kl.detach()}
