"""Distillation from one teacher, and the labels (paper 002, XE-KL-Dist)."""

from typing import Any

from torch import Tensor, nn

from zoo_cli.objectives import teacher_context
from zoo_cli.objectives.kl import kl_divergences
from zoo_cli.objectives.supervised import Batch, Objective, compute_labelled_loss
from zoo_cli.objectives.teacher_context import TeacherContext


class XeKL(Objective):
    """alpha * KL + (1 - alpha) * CE, the KL divergence of `KL` over all rows, CE over the labelled rows.

    CE is computed from the student's logits. The paper's public code passes it probabilities, a second softmax, which
    we consider a mistake.
    """

    def __init__(self, context: TeacherContext, *, alpha: float = 0.5):
        """Raises UsageError for alpha outside [0, 1], ValueError for several teachers."""
        super().__init__()
        self.context = teacher_context.require_one_teacher(context)
        self.check(context.steps, alpha=alpha)
        self.alpha = alpha

    @classmethod
    def check(cls, steps: int, **parameters: Any) -> None:  # noqa: ARG003 - the signature of every objective
        """Raise UsageError for alpha outside [0, 1]."""
        teacher_context.check_fraction("xe-kl:alpha", parameters["alpha"], "1 is all teacher, 0 all labels")

    def loss(self, student: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Logs `labelled_loss`, `labelled_accuracy` and `distillation_kl`. Raises ValueError without labels."""
        _, logits = student(batch.images)
        targets = teacher_context.compute_single_teacher_logits(self.context, batch)
        kl = kl_divergences(logits, targets, self.context.temperature).mean()
        loss, terms = compute_labelled_loss(logits, batch.labels)
        return self.alpha * kl + (1 - self.alpha) * loss, {**terms, "distillation_kl": kl.detach()}
