"""Plain distillation from one teacher of the same classes (paper 002, KL-Dist; Hinton et al. 2015)."""

import torch
from torch import Tensor, nn

from zoo_cli.objectives import teacher_context
from zoo_cli.objectives.supervised import Batch, Objective, upcast
from zoo_cli.objectives.teacher_context import TeacherContext


class KL(Objective):
    """T^2 / B * sum_i KL(softmax(teacher_i / T) || softmax(student_i / T)) over all B rows; no label is read."""

    def __init__(self, context: TeacherContext):
        """Raises ValueError for several teachers."""
        super().__init__()
        self.context = teacher_context.require_one_teacher(context)

    def loss(self, student: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Logs `distillation_kl`: the loss itself, 0 if student and teacher agree."""
        _, logits = student(batch.images)
        targets = teacher_context.compute_single_teacher_logits(self.context, batch)
        loss = kl_divergences(logits, targets, self.context.temperature).mean()
        return loss, {"distillation_kl": loss.detach()}


def kl_divergences(logits: Tensor, targets: Tensor, temperature: float = 1.0) -> Tensor:
    """T^2 * KL(softmax(targets / T) || softmax(logits / T)) of each row (B,), in float32 at least, >= 0 up to rounding.

    `logits`, `targets` (B, C), both before the softmax; only `logits` have a gradient, which is exactly 0 where both
    are bit-equal. Raises ValueError for different shapes.
    """
    if logits.shape != targets.shape:
        raise ValueError(f"logits {tuple(logits.shape)}, targets {tuple(targets.shape)}")
    log_p = _shift_logits(targets.detach(), temperature)
    log_p = log_p - torch.logsumexp(log_p, 1, keepdim=True)
    p = log_p.exp()
    # The gradient of logsumexp is exp(z - logsumexp(z)), which is how p is computed: for equal logits the two cancel
    # exactly. The gradient of log_softmax would leave the rounding of a sum of p.
    z = _shift_logits(logits, temperature)
    return temperature**2 * (torch.logsumexp(z, 1) + (p * (log_p - z)).sum(1))


def _shift_logits(logits: Tensor, temperature: float) -> Tensor:
    """logits / T minus the row's largest, so that a common offset costs no digits."""
    z = upcast(logits) / temperature
    return z - z.detach().amax(1, keepdim=True)
