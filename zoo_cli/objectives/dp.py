"""Distillation from the teacher where it knows better, else from the student as it was (paper 002, KL-Dist + DP)."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from zoo_cli.errors import UsageError
from zoo_cli.objectives import teacher_context
from zoo_cli.objectives.kl import divergences
from zoo_cli.objectives.supervised import Batch, Objective, precise
from zoo_cli.objectives.teacher_context import TeacherContext


class DP(Objective):
    """The KL divergence of `KL` to the answer that is chosen for each row, of a teacher's or the original student's.

    `select="prob"`: the one that gives its class the highest probability; the class is the label with `labels`, and
    without them the one it answers itself. Of equals the first, the original student before all teachers: a teacher
    has to know strictly better. `select="flip"`: a teacher on its positive flips alone, where it is right and the
    original wrong; of several such teachers the one of the highest probability of the label. `confidence="logit"`
    compares logits in the place of probabilities, both at temperature 1.

    The defaults are those of the public code. The paper's page speaks of the highest logit, and of the samples where
    the teacher alone is right: these are the two options. The public code's flips are judged by the student as it is at
    a step; ours by the original, by which the paper defines them.
    """

    def __init__(
        self,
        taught: TeacherContext,
        *,
        labels: bool = True,
        select: Literal["prob", "flip"] = "prob",
        confidence: Literal["prob", "logit"] = "prob",
    ):
        """Without `labels` none is read. Raises UsageError for flips without labels."""
        super().__init__()
        self.check(taught.steps, labels=labels, select=select)
        self.taught = taught
        self.labels = labels
        self.select = select
        self.confidence = confidence

    @classmethod
    def check(cls, steps: int, **parameters: Any) -> None:  # noqa: ARG003 - an objective's signature
        """Raise UsageError for flips without labels."""
        if parameters["select"] == "flip" and not parameters["labels"]:
            raise UsageError("dp:select=flip asks for labels", "take labels=true, or select=prob")

    def loss(self, student: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Logs `distillation_kl`, `given`, and with `labels` the flips; all of these are shares of the rows.

        `given`: rows given to a teacher. `positive_flips`: rows where the original is wrong and a teacher right, and
        `positive_given`, those of them given to a teacher that is right; `negative_flips`: where the original is right
        and a teacher wrong, and `negative_given`, those given to one that is wrong. Being shares of all rows, their
        means over steps can be divided by each other, as shares of the flips of a step cannot. Raises ValueError where
        a row has no label and `labels` asks for it.
        """
        _, logits = student(batch.images)
        asked = precise(teacher_context.teacher_logits(self.taught, batch))
        candidates = torch.cat([precise(teacher_context.original_logits(self.taught, batch))[None], asked])
        labels = None
        if self.labels:
            labels = batch.labels
            if len(labels) != len(logits):
                raise ValueError(f"{len(logits) - len(labels)} rows have no label")
        choice = self._choice(candidates, labels)
        target = candidates.gather(0, choice.view(1, -1, 1).expand_as(candidates[:1]))[0]
        loss = divergences(logits, target, self.taught.temperature).mean()
        terms = {"distillation_kl": loss.detach(), "given": (choice > 0).float().mean()}
        if labels is not None:
            terms |= _flips(candidates, labels, choice)
        return loss, terms

    def told(self, means: dict[str, float]) -> dict[str, float]:
        """Adds `positive_share` and `negative_share`: of the flips of each kind, those given to such a teacher."""
        found = {kind: means.get(f"{kind}_flips", 0.0) for kind in ("positive", "negative")}
        return means | {f"{kind}_share": means[f"{kind}_given"] / flips for kind, flips in found.items() if flips}

    def _choice(self, candidates: Tensor, labels: Tensor | None) -> Tensor:
        """Which of the candidates (1 + M, B, C), 0 the original student, each row (B,) learns from."""
        scores = candidates if self.confidence == "logit" else candidates.log_softmax(2)
        if labels is None:
            return scores.amax(2).argmax(0)
        scores = scores.gather(2, labels.view(1, -1, 1).expand_as(scores[:, :, :1]))[:, :, 0]
        if self.select == "flip":
            right = candidates.argmax(2) == labels
            scores = scores.masked_fill(~right | right[:1], -torch.inf)
        return scores.argmax(0)  # the first of equals


def _flips(candidates: Tensor, labels: Tensor, choice: Tensor) -> dict[str, Tensor]:
    """The four shares of rows that tell of flips."""
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
