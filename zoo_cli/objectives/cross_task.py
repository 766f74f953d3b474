"""Cross-task distillation: labels, and the weighted pseudo-labels of many sources (paper 000, eq. 1, 3 and 4)."""

import math
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

from zoo_cli.errors import UsageError
from zoo_cli.objectives import segmented
from zoo_cli.objectives.segments import Kind, check_segments
from zoo_cli.objectives.supervised import Batch, Objective, compute_labelled_loss


class CrossTask(Objective):
    """lam * CE(labels) + (1 - lam) * sum_s alpha_s * CE(pseudo-labels of s), both halves in one forward pass.

    Every source has a temporary linear head on the tensor that the student's own head reads; together they are one
    `nn.Linear`. One source with alpha 1 is DistillNearest. With lam = 1 there are no source heads, and this is plain
    supervised training. The paper has no temperature; T other than 1 follows Hinton et al. (2015), including their T^2.
    """

    lam: float
    temperature: float

    def __init__(
        self,
        features: int,
        class_counts: Sequence[int],
        kinds: Sequence[Kind],
        alpha: Sequence[float],
        generator: torch.Generator,
        lam: float = 0.8,
        temperature: float = 1.0,
    ):
        """Create heads for S sources on features of width `features` (D).

        `class_counts` (S,): K_s of each source; `kinds` (S,): "softmax" or "sigmoid"; `alpha` (S,): weights >= 0;
        `generator`: on the CPU, initialises the heads as `nn.Linear` does by default. Raises UsageError for lam outside
        [0, 1] or a temperature that is not positive, ValueError if the three sequences do not match.
        """
        super().__init__()
        if not 0 <= lam <= 1:
            raise UsageError(f"lam={lam:g} is not between 0 and 1", "1 is labels only, 0 pseudo-labels only")
        if not 0 < temperature < math.inf:
            raise UsageError(f"temperature={temperature:g} is not positive", "1 leaves the targets unchanged")
        self.lam = lam
        self.temperature = temperature
        self.offsets = tuple(accumulate(class_counts, initial=0))
        self.alpha = tuple(float(a) for a in alpha)
        self.kinds = tuple(kinds)
        self.heads: nn.Linear | None = None
        if lam < 1:
            check_segments(self.offsets, self.alpha, self.kinds)
            self.heads = _init_linear(features, self.offsets[-1], generator)

    def loss(self, student: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Logs `labelled_loss`, `labelled_accuracy`, and for the weighted sum over sources `distillation_loss` and
        `distillation_kl`, the former minus the entropy of the targets, with minimum 0.

        Raises ValueError if the batch lacks the labelled or unlabelled rows that lam requires.
        """
        features, logits = student(batch.images)
        terms: dict[str, Tensor] = {}
        total = logits.new_zeros((), dtype=torch.float32)
        if self.lam > 0:
            total, terms = compute_labelled_loss(logits, batch.labels)
        if self.heads is None:
            return total, terms
        if batch.targets is None or not len(batch.targets):
            raise ValueError("the batch has no pseudo-labels")
        distilled, source_terms = self.compute_distillation(features[len(batch.labels) :], batch.targets)
        return self.lam * total + (1 - self.lam) * distilled, {**terms, **source_terms}

    def compute_distillation(self, features: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum () over sources, of features (B, D) and pseudo-labels (B, sum K), and the terms to log:
        `distillation_loss` and `distillation_kl`. Needs lam < 1.
        """
        assert self.heads is not None, "there are source heads unless lam is 1"
        scores = segmented.linear(features, self.heads.weight, self.heads.bias)
        distilled = segmented.soft_cross_entropy(
            scores, targets, self.offsets, self.alpha, self.kinds, self.temperature
        )
        loss = distilled.loss.detach()
        return distilled.loss, {"distillation_loss": loss, "distillation_kl": loss - distilled.floor}


def _init_linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """`nn.Linear` with torch's default initialisation, drawn from `generator`."""
    linear = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    bound = 1 / math.sqrt(inputs)
    with torch.no_grad():
        linear.weight.uniform_(-bound, bound, generator=generator)
        linear.bias.uniform_(-bound, bound, generator=generator)
    return linear
