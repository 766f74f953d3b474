"""Distillation slowed down by averaged weights, which the student ends with (paper 002, XE-KL-Dist + MCL)."""

from typing import Any

import torch
from torch import Tensor, nn

from zoo_cli.errors import UsageError
from zoo_cli.objectives import teacher_context
from zoo_cli.objectives.kl import kl_divergences
from zoo_cli.objectives.masked_mean import masked_mean
from zoo_cli.objectives.supervised import Batch, Objective, compute_labelled_loss, upcast
from zoo_cli.objectives.teacher_context import TeacherContext

RETENTION = 0.61
"""The share of the original weights kept by the paper's public settings: 0.9999 to the power of its 5,005 updates."""


class MCL(Objective):
    """alpha * KL + (1 - alpha) * CE trains the fast weights; every N steps slow <- tau * slow + (1 - tau) * fast.

    KL is that of `KL` between the softmax over the teacher's k highest logits and the student's at the same classes.
    It leaves out negative flips: rows where the teacher is wrong and the student, at the current step, is right (as in
    the public code; the paper's text has no such rule). KL is the mean over the remaining rows, 0 if there are none; CE
    the mean over all rows, of logits as in `XeKL`.

    The slow weights start as the original student; batch-norm statistics are averaged with them, integers are copied.
    They are kept in float64: an update by a ten-thousandth of the difference is lost in float32. `finish` copies them
    into the student. The public code counts N in fractions of a batch, we count steps.
    """

    def __init__(
        self,
        context: TeacherContext,
        *,
        alpha: float = 0.68,
        k: int = 100,
        retention: float = RETENTION,
        tau: float | None = None,
        steps_per_update: int = 2,
        reset: bool = False,
    ):
        """`retention`: the share of the original weights in the slow ones at the end of the run, tau ** updates.

        `tau` can be set instead. A `k` above the number of classes means all of them. `reset`: after each update the
        fast weights continue from the slow ones, with unchanged momentum. Raises UsageError for values outside their
        range, for both `retention` and `tau`, and for a run too short for one update; ValueError for several teachers.
        """
        super().__init__()
        self.context = teacher_context.require_one_teacher(context)
        self.check(context.steps, alpha=alpha, k=k, retention=retention, tau=tau, steps_per_update=steps_per_update)
        self.alpha = alpha
        self.updates = context.steps // steps_per_update
        self.k = k
        self.tau = retention ** (1 / self.updates) if tau is None else tau
        self.steps_per_update = steps_per_update
        self.reset = reset
        self._slow = {key: "slow/" + key.replace(".", "/") for key in context.original.state_dict()}
        for key, value in context.original.state_dict().items():
            value = value.detach()
            slow = value.to(torch.float64, copy=True) if value.is_floating_point() else value.clone()
            self.register_buffer(self._slow[key], slow)

    @classmethod
    def check(cls, steps: int, **parameters: Any) -> None:
        """Raise UsageError for values outside their range, both `retention` and `tau`, and a run too short."""
        retention, tau, per_update = (parameters[name] for name in ("retention", "tau", "steps_per_update"))
        teacher_context.check_fraction("mcl:alpha", parameters["alpha"], "1 is all teacher, 0 all labels")
        teacher_context.check_fraction("mcl:retention", retention, "1 leaves the student unchanged, 0 keeps none of it")
        for name in ("k", "steps_per_update"):
            if parameters[name] < 1:
                raise UsageError(f"mcl:{name}={parameters[name]} is below 1", "expected a positive integer")
        if steps < per_update:
            raise UsageError(
                f"mcl:steps_per_update={per_update} is more than the {steps} steps of the run",
                "the student would not change: lower it, or train longer",
            )
        if tau is None:
            return
        if retention != RETENTION:
            raise UsageError("mcl:retention and mcl:tau cannot be combined", "each determines the other")
        teacher_context.check_fraction("mcl:tau", tau, "1 leaves the slow weights as they are, 0 sets them to the fast")

    def loss(self, student: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Logs `labelled_loss`, `labelled_accuracy`, `distillation_kl`, and `negative_flips`, the share of rows left
        out of the KL; all for the fast weights. Raises ValueError if a row has no label.
        """
        _, logits = student(batch.images)
        if len(batch.labels) != len(logits):
            raise ValueError(f"{len(logits) - len(batch.labels)} rows have no label")
        targets = teacher_context.compute_single_teacher_logits(self.context, batch)
        logits = upcast(logits)
        left_out = (targets.argmax(1) != batch.labels) & (logits.argmax(1) == batch.labels)
        k = min(self.k, logits.shape[1])
        highest = targets.topk(k, 1).indices
        divergences = kl_divergences(logits.gather(1, highest), targets.gather(1, highest), self.context.temperature)
        kl = masked_mean(divergences, ~left_out)
        loss, terms = compute_labelled_loss(logits, batch.labels)
        terms |= {"distillation_kl": kl.detach(), "negative_flips": left_out.float().mean()}
        return self.alpha * kl + (1 - self.alpha) * loss, terms

    def summarize_means(self, means: dict[str, float]) -> dict[str, float]:
        """Adds `retention`: the share of the original weights in the slow ones at the end of the run."""
        return means | {"retention": self.tau**self.updates}

    def after_step(self, student: nn.Module, step: int) -> None:
        """Every N steps, slow <- tau * slow + (1 - tau) * fast."""
        if step % self.steps_per_update:
            return
        fast, slow = self._pairs(student, floating=True)
        # All tensors at once: a GPU takes a few launches instead of two for each.
        doubles = [torch.empty_like(value) for value in slow]
        torch._foreach_copy_(doubles, fast)
        torch._foreach_mul_(slow, self.tau)
        torch._foreach_add_(slow, doubles, alpha=1 - self.tau)
        fast, slow = self._pairs(student, floating=False)
        if slow:
            torch._foreach_copy_(slow, fast)
        if self.reset:
            self.finish(student)

    def finish(self, student: nn.Module) -> None:
        """Copy the slow weights into the student."""
        for floating in (True, False):
            fast, slow = self._pairs(student, floating=floating)
            if fast:
                torch._foreach_copy_(fast, slow)

    def _pairs(self, student: nn.Module, *, floating: bool) -> tuple[list[Tensor], list[Tensor]]:
        """The student's tensors and the slow ones: those that are averaged, or the integers."""
        pairs = [(fast, self.get_buffer(self._slow[key])) for key, fast in student.state_dict().items()]
        chosen = [pair for pair in pairs if pair[1].is_floating_point() == floating]
        return [fast for fast, _ in chosen], [slow for _, slow in chosen]
