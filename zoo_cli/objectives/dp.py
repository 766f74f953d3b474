"""Distillation from a teacher where it is better, else from the original student (paper 002, KL-Dist + DP)."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from zoo_cli.errors import UsageError
from zoo_cli.objectives import teacher_context
from zoo_cli.objectives.kl import kl_divergences
from zoo_cli.objectives.supervised import Batch, Objective, upcast
from zoo_cli.objectives.teacher_context import TeacherContext


class DP(Objective):
    """The KL divergence of `KL` to the predictions selected for each row, of a teacher or of the original student.

    `select="prob"`: the candidate that gives its class the highest probability; its class is the label with `labels`,
    else the class that it predicts itself. Among equals the first, the original student before all teachers: a teacher
    has to be strictly better. `select="flip"`: a teacher only on its positive flips, where it is right and the original
    wrong; among several such teachers the one with the highest probability of the label. `confidence="logit"` compares
    logits instead of probabilities, both at temperature 1.

    The defaults are those of the public code. The paper's text mentions the highest logit, and the samples where only
    the teacher is right: these are the two options. The public code judges flips by the student at the current step; we
    judge them by the original student, as in the paper's definition.
    """

    def __init__(
        self,
        context: TeacherContext,
        *,
        labels: bool = True,
        select: Literal["prob", "flip"] = "prob",
        confidence: Literal["prob", "logit"] = "prob",
    ):
        """Without `labels`, labels are not read. Raises UsageError for select="flip" without labels."""
        super().__init__()
        self.check(context.steps, labels=labels, select=select)
        self.context = context
        self.labels = labels
        self.select = select
        self.confidence = confidence

    @classmethod
    def check(cls, steps: int, **parameters: Any) -> None:  # noqa: ARG003 - the signature of every objective
        """Raise UsageError for select="flip" without labels."""
        if parameters["select"] == "flip" and not parameters["labels"]:
            raise UsageError("dp:select=flip needs labels", "use labels=true, or select=prob")

    def loss(self, student: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Logs `distillation_kl`, and as shares of all rows `given` and, with `labels`, the flips.

        `given`: rows assigned to a teacher. `positive_flips`: rows where the original is wrong and a teacher right, and
        `positive_given`, those assigned to a teacher that is right; `negative_flips`: rows where the original is right
        and a teacher wrong, and `negative_given`, those assigned to a teacher that is wrong. As shares of all rows,
        their means over steps can be divided by each other; shares of the flips of a step cannot. Raises ValueError if
        a row has no label and `labels` is set.
        """
        _, logits = student(batch.images)
        original = upcast(teacher_context.compute_original_logits(self.context, batch))
        candidates = torch.cat([original[None], upcast(teacher_context.compute_teacher_logits(self.context, batch))])
        labels = None
        if self.labels:
            labels = batch.labels
            if len(labels) != len(logits):
                raise ValueError(f"{len(logits) - len(labels)} rows have no label")
        choice = self._choose(candidates, labels)
        target = candidates.gather(0, choice.view(1, -1, 1).expand_as(candidates[:1]))[0]
        loss = kl_divergences(logits, target, self.context.temperature).mean()
        terms = {"distillation_kl": loss.detach(), "given": (choice > 0).float().mean()}
        if labels is not None:
            terms |= _flips(candidates, labels, choice)
        return loss, terms

    def summarize_means(self, means: dict[str, float]) -> dict[str, float]:
        """Adds `positive_share` and `negative_share`: the share of each kind of flips assigned to such a teacher."""
        flips_by_kind = {kind: means.get(f"{kind}_flips", 0.0) for kind in ("positive", "negative")}
        return means | {
            f"{kind}_share": means[f"{kind}_given"] / flips for kind, flips in flips_by_kind.items() if flips
        }

    def _choose(self, candidates: Tensor, labels: Tensor | None) -> Tensor:
        """The index (B,) of the candidate (1 + M, B, C), 0 the original student, that each row learns from."""
        scores = candidates if self.confidence == "logit" else candidates.log_softmax(2)
        if labels is None:
            return scores.amax(2).argmax(0)
        scores = scores.gather(2, labels.view(1, -1, 1).expand_as(scores[:, :, :1]))[:, :, 0]
        if self.select == "flip":
            right = candidates.argmax(2) == labels
            scores = scores.masked_fill(~right | right[:1], -torch.inf)
        return scores.argmax(0)  # the first among equals


def _flips(candidates: Tensor, labels: Tensor, choice: Tensor) -> dict[str, Tensor]:
    """The four logged shares of rows with flips."""
    right = candidates.argmax(2) == labels
    original, teacher = right[0], right[1:]
    chosen = right.gather(0, choice[None])[0]
    shares = {
        "positive_flips": ~original & teacher.any(0),
        "positive_given": ~original & (choice > 0) & chosen,
        "negative_flips": original & ~teacher.all(0),
        "negative_given": original & (choice > 0) & ~chosen,
    }
    return {name: share.float().mean() for name, share in shares.items()}
