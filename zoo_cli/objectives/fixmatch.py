"""FixMatch: labels, and confident predictions on weak views as labels of strong views (Sohn et al. 2020).

The semi-supervised baseline of paper 000.
"""

import math

import torch
from torch import Tensor, nn

from zoo_cli.errors import UsageError
from zoo_cli.objectives.supervised import Batch, Objective, compute_labelled_loss, upcast


class FixMatch(Objective):
    """lam * L_sup + (1 - lam) * L_u, or L_sup + w * L_u with `unlabelled_weight` w.

    L_sup is the mean cross-entropy of the labelled rows. For an unlabelled row, q = softmax(weak logits / T) without
    gradient; if max q is at least the threshold, its class is the label of the strong view. L_u is the sum of these
    cross-entropies over the number of all unlabelled rows, confident or not. The batch's images (labelled and
    unlabelled, weak views) and the strong views go through the student together, so that batch norm sees all three.
    There is no average of weights and no learning rate of its own, so that it compares under an equal protocol.
    """

    def __init__(
        self,
        threshold: float = 0.95,
        temperature: float = 1.0,
        lam: float = 0.5,
        unlabelled_weight: float | None = None,
    ):
        """`lam` is ignored if `unlabelled_weight` is set. With a threshold above 1 only the labels are learned from.

        Raises UsageError for a value outside its range.
        """
        super().__init__()
        if not 0 <= threshold < math.inf:
            raise UsageError(
                f"threshold={threshold:g} is negative or not finite", "0 accepts all predictions, 1 hardly any"
            )
        if not 0 < temperature < math.inf:
            raise UsageError(f"temperature={temperature:g} is not positive", "1 leaves the predictions unchanged")
        if not 0 <= lam <= 1:
            raise UsageError(f"lam={lam:g} is not between 0 and 1", "1 is labels only, 0 unlabelled images only")
        if unlabelled_weight is not None and not 0 <= unlabelled_weight < math.inf:
            raise UsageError(f"unlabelled_weight={unlabelled_weight:g} is negative or not finite", "1 is usual")
        self.threshold = threshold
        self.temperature = temperature
        self.weights = (lam, 1 - lam) if unlabelled_weight is None else (1.0, unlabelled_weight)

    def loss(self, student: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Logs `labelled_loss`, `labelled_accuracy`, `unlabelled_loss` (L_u), and `confident`, the share of the
        unlabelled rows that reach the threshold. Raises ValueError if labelled rows or strong views are missing.
        """
        rows, first = len(batch.images), len(batch.labels)
        count = 0 if batch.strong is None else len(batch.strong)
        if batch.strong is None or not count or count != rows - first:
            raise ValueError(f"the batch has {count} strong views of {rows - first} unlabelled rows")
        _, logits = student(torch.cat([batch.images, batch.strong]))
        loss, terms = compute_labelled_loss(logits, batch.labels)
        weak, strong = upcast(logits[first:rows].detach()), upcast(logits[rows:])
        q, prediction = (weak / self.temperature).softmax(1).max(1)
        confident = q >= self.threshold
        losses = nn.functional.cross_entropy(strong, prediction, reduction="none")
        unlabelled = torch.where(confident, losses, 0.0).sum() / count
        terms |= {"unlabelled_loss": unlabelled.detach(), "confident": confident.float().mean()}
        return self.weights[0] * loss + self.weights[1] * unlabelled, terms
