"""Distillation from heads: labels, and a pool's answers in the task's own classes for the student's own head."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo_cli.errors import UsageError
from zoo_cli.objectives import segmented
from zoo_cli.objectives.cross_task import CrossTask
from zoo_cli.objectives.segments import Kind
from zoo_cli.objectives.supervised import Batch, Objective, compute_labelled_loss, upcast
from zoo_cli.objectives.teacher_context import check_fraction


class Heads(Objective):
    """lam * CE(labels) + (1 - lam) * [(1 - b) * KL(pool || student) + b * sum_s alpha_s * CE(pseudo-labels of s)].

    The pool's answers are the first C columns of a batch's targets, for the rows without labels; the pseudo-labels of
    the sources, read only if b > 0, lie behind them. KL is the mean over these rows, with the student's own head. The
    last term is that of `CrossTask`, with temporary heads (paper 000, eq. 4). With lam = 1 this is plain supervised
    training.
    """

    def __init__(
        self,
        features: int,
        classes: int,
        class_counts: Sequence[int],
        kinds: Sequence[Kind],
        alpha: Sequence[float],
        generator: torch.Generator,
        lam: float = 0.2,
        temperature: float = 1.0,
        *,
        cross_task: float = 0.0,
        sharpen: float = 1.0,
    ):
        """Create what `cross_task` (b) needs: nothing at 0, else the heads of S sources as `CrossTask` does.

        `features`: D of the student; `classes`: C; `class_counts`, `kinds`, `alpha` (S,), `generator` and `temperature`
        are of the sources. `sharpen`: T > 0; the pool's answers are taken to the power 1 / T and renormalised, below 1
        for more confident ones. Raises UsageError for lam or b outside [0, 1], or a T that is not positive; ValueError
        if the three sequences do not match, or are empty though b > 0.
        """
        super().__init__()
        self.check(0, cross_task=cross_task, sharpen=sharpen)
        self.lam = check_fraction("lam", lam, "1 is labels only, 0 the pool only")
        self.classes = classes
        self.cross_task = cross_task
        self.sharpen = sharpen
        self.sources: CrossTask | None = None
        if cross_task > 0:
            self.sources = CrossTask(features, class_counts, kinds, alpha, generator, lam=0, temperature=temperature)

    @classmethod
    def check(cls, steps: int, **parameters: Any) -> None:  # noqa: ARG003 - the signature of every objective
        """Raise UsageError for b outside [0, 1] and a T that is not positive."""
        check_fraction("heads:cross_task", parameters["cross_task"], "0 is the pool only, 1 the sources' classes only")
        if not 0 < parameters["sharpen"] < math.inf:
            raise UsageError(
                f"heads:sharpen={parameters['sharpen']:g} is not positive", "1 leaves the pool's answers unchanged"
            )

    def loss(self, student: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Logs `labelled_loss`, `labelled_accuracy` and `pool_kl`; if b > 0, `distillation_loss` and
        `distillation_kl` of the sources, as `CrossTask` does.

        Raises ValueError if the batch lacks the rows that lam requires, or has targets of another width.
        """
        features, logits = student(batch.images)
        terms: dict[str, Tensor] = {}
        total = logits.new_zeros((), dtype=torch.float32)
        if self.lam > 0:
            total, terms = compute_labelled_loss(logits, batch.labels)
        if self.lam == 1:
            return total, terms
        targets, rows = self._check_targets(batch), slice(len(batch.labels), None)
        kl = self._compute_pool_kl(logits[rows], targets[:, : self.classes])
        terms["pool_kl"] = kl.detach()
        distilled = (1 - self.cross_task) * kl
        if self.sources is not None:
            loss, source_terms = self.sources.compute_distillation(features[rows], targets[:, self.classes :])
            distilled = distilled + self.cross_task * loss
            terms |= source_terms
        return self.lam * total + (1 - self.lam) * distilled, terms

    def _check_targets(self, batch: Batch) -> Tensor:
        columns = self.classes + (0 if self.sources is None else self.sources.offsets[-1])
        targets = batch.targets
        if targets is None or not len(targets) or targets.shape[1] != columns:
            shape = None if targets is None else tuple(targets.shape)
            raise ValueError(f"the batch has targets {shape}, expected {columns} columns")
        return targets

    def _compute_pool_kl(self, logits: Tensor, answers: Tensor) -> Tensor:
        """The mean KL divergence () of the answers (B, C), sharpened and renormalised, from the logits (B, C)."""
        answers = answers.to(upcast(logits).dtype)
        if self.sharpen != 1:
            # Relative to the largest, so that a high power does not lose the whole row.
            answers = (answers / answers.amax(1, keepdim=True)) ** (1 / self.sharpen)
        # The segmented loss renormalises its targets after their rounding to float16.
        whole = segmented.soft_cross_entropy(logits, answers, (0, self.classes), (1.0,), ("softmax",))
        return whole.loss - whole.floor
