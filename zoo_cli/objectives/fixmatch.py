"""FixMatch: labels, and the student's own confident answers on weak views as labels of strong views (Sohn et al. 2020).

The semi-supervised baseline of paper 000.
"""

import math

import torch
from torch import Tensor, nn

from zoo_cli.errors import UsageError
from zoo_cli.objectives.supervised import Batch, Objective, labelled, precise


class FixMatch(Objective):
    """lam * L_sup + (1 - lam) * L_u, or L_sup + w * L_u with `unlabelled_weight` w.

    L_sup is the mean cross-entropy of the labelled rows. Of an unlabelled row, q = softmax(weak logits / T) without
    gradient; where max q is at least the threshold, its class is the label of the strong view. L_u is the sum of their
    cross-entropies over the number of all unlabelled rows, confident or not. The batch's images (labelled and
    unlabelled, weak views) and the strong views go through the student together, so batch norm sees all three.
    No average of weights is kept, and no rate of its own is taken: it is to be compared at an equal protocol.
    """

    def __init__(
        self,
        threshold: float = 0.95,
        temperature: float = 1.0,
        lam: float = 0.5,
        unlabelled_weight: float | None = None,
    ):
        """`lam` counts only without `unlabelled_weight`. A threshold above 1 leaves the labels alone to learn from.

        Raises UsageError for a value outside its range.
        """
        super().__init__()
        if not 0 <= threshold < math.inf:
            raise UsageError(f"--threshold {threshold:g} is no probability", "0 takes every answer, 1 hardly one")
        if not 0 < temperature < math.inf:
            raise UsageError(f"--temperature {temperature:g} is not positive", "1 leaves the answers as they are")
        if not 0 <= lam <= 1:
            raise UsageError(f"--lam {lam:g} is not between 0 and 1", "1 is all labels, 0 all unlabelled images")
        if unlabelled_weight is not None and not 0 <= unlabelled_weight < math.inf:
            raise UsageError(f"--unlabelled-weight {unlabelled_weight:g} is negative or infinite", "1 is the usual")
        self.threshold = threshold
        self.temperature = temperature
        self.weights = (lam, 1 - lam) if unlabelled_weight is None else (1.0, unlabelled_weight)

    def loss(self, student: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Logs `labelled_loss`, `labelled_accuracy`, `unlabelled_loss` (L_u), and `confident`, the share of the
        unlabelled rows whose answer counts. Raises ValueError where labelled rows or strong views are missing.
        """
        rows, first = len(batch.images), len(batch.labels)
        count = 0 if batch.strong is None else len(batch.strong)
        if batch.strong is None or not count or count != rows - first:
            raise ValueError(f"the batch has {count} strong views of {rows - first} unlabelled rows")
        _, logits = student(torch.cat([batch.images, batch.strong]))
        loss, terms = labelled(logits, batch.labels)
        weak, strong = precise(logits[first:rows].detach()), precise(logits[rows:])
        q, answer = (weak / self.temperature).softmax(1).max(1)
        confident = q >= self.threshold
        each = nn.functional.cross_entropy(strong, answer, reduction="none")
        unlabelled = torch.where(confident, each, 0.0).sum() / count
        terms |= {"unlabelled_loss": unlabelled.detach(), "confident": confident.float().mean()}
        return self.weights[0] * loss + self.weights[1] * unlabelled, terms
