"""Plain distillation from one teacher of the same classes (paper 002, KL-Dist; Hinton et al. 2015)."""

import torch
from torch import Tensor, nn

from zoo_cli.objectives import teacher_context
from zoo_cli.objectives.supervised import Batch, Objective, precise
from zoo_cli.objectives.teacher_context import TeacherContext


class KL(Objective):
    """T^2 / B * sum_i KL(softmax(teacher_i / T) || softmax(student_i / T)) over all B rows; no label is read."""

    def __init__(self, taught: TeacherContext):
        """Raises ValueError for several teachers."""
        super().__init__()
        self.taught = teacher_context.require_one_teacher(taught)

    def loss(self, student: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Logs `distillation_kl`: the loss itself, 0 where the student answers as the teacher does."""
        _, logits = student(batch.images)
        loss = divergences(
            logits, teacher_context.single_teacher_logits(self.taught, batch), self.taught.temperature
        ).mean()
        return loss, {"distillation_kl": loss.detach()}


def divergences(logits: Tensor, targets: Tensor, temperature: float = 1.0) -> Tensor:
    """T^2 * KL(softmax(targets / T) || softmax(logits / T)) of every row (B,), in float32 at least, >= 0 to rounding.

    `logits`, `targets` (B, C), both before the softmax; the gradient goes to `logits` alone, and is exactly 0 where
    both are the same to the bit. Raises ValueError for shapes that differ.
    """
    if logits.shape != targets.shape:
        raise ValueError(f"logits {tuple(logits.shape)}, targets {tuple(targets.shape)}")
    log_p = _shifted(targets.detach(), temperature)
    log_p = log_p - torch.logsumexp(log_p, 1, keepdim=True)
    p = log_p.exp()
    # The gradient of logsumexp is exp(z - logsumexp(z)), which is how p was made: so equal logits leave no rest, where
    # that of log_softmax would leave the rounding of a sum of p.
    z = _shifted(logits, temperature)
    return temperature**2 * (torch.logsumexp(z, 1) + (p * (log_p - z)).sum(1))


def _shifted(logits: Tensor, temperature: float) -> Tensor:
    """logits / T less the row's largest, so that no digit goes to a common offset."""
    z = precise(logits) / temperature
    return z - z.detach().amax(1, keepdim=True)
