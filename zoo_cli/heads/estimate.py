"""What a pool's accuracy on the unlabelled images is likely to be, from the labels alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.heads.pooled import Pool
from zoo_cli.heads.target_labels import TargetLabels

Array = NDArray[Any]

QUANTILE = 1.6448536269514722  # of the normal distribution at 95 %: 90 % two-sided
DRAWS = 200
ROUNDS = 50
PRIOR = 0.5
# Below FEW labels the interval widens linearly, towards WIDENING at none: assumed, still to be measured on data sets.
FEW, WIDENING = 40, 1.25


@dataclass(frozen=True, eq=False)
class AccuracyEstimate:
    """The estimated accuracy in [0, 1] on the unlabelled images, and the ends of its 90 % interval.

    `classes` (J,): those with two labels or more, which are judged; `recalls` (J,): their leave-one-out recalls;
    `shares` (J,): their shares among the pool's answers, sum 1. All three numbers are None with a machine-readable
    `reason`: `one_label_per_class` or `no_unlabelled_images`.
    """

    accuracy: float | None
    low: float | None
    high: float | None
    classes: Array
    recalls: Array
    shares: Array
    reason: str | None = None


def estimate_accuracy(pool: Pool, targets: TargetLabels, *, seed: int = 0) -> AccuracyEstimate:
    """Leave-one-out recalls of the classes, combined by the class shares that the pool gives the unlabelled images.

    Labels drawn per class say nothing of the classes' shares, so that the plain mean would be that of another data set.
    The interval counts the uncertainty of the recalls (binomial) and of the shares: those answered are compared with
    the shares that would be answered so under confusion matrices drawn from their Dirichlet posterior (Saerens et al.
    2002). Below 40 labels it is up to a quarter wider: assumed. Leave-one-out takes a label from one class alone, so
    that the estimate is a few points low where many weakly separated classes have few labels each.
    """
    counts = targets.counts
    judged = np.flatnonzero(counts > 1)
    classes = targets.present[judged]
    empty = np.zeros(len(judged))
    if targets.reason or not len(targets.unlabelled):
        reason = targets.reason or "no_unlabelled_images"
        return AccuracyEstimate(None, None, None, classes, empty, empty, reason)
    hits = (pool.leave_one_out.argmax(axis=1) == targets.labels).astype(np.float64)
    right = np.bincount(targets.codes, hits, len(counts))[judged]
    recalls = right / counts[judged]
    shares = pool.probabilities[targets.unlabelled][:, classes].sum(axis=0)
    total = float(shares.sum())
    shares = shares / total if total > 0 else np.full(len(judged), 1 / len(judged))
    accuracy = float(shares @ recalls)
    smooth = (right + PRIOR) / (counts[judged] + 2 * PRIOR)
    variance = float(shares**2 @ (smooth * (1 - smooth) / counts[judged]))
    variance += _share_variance(pool.leave_one_out[:, classes], targets, judged, shares, smooth, seed)
    few = max(0.0, 1 - len(targets) / FEW)
    spread = QUANTILE * (1 + (WIDENING - 1) * few) * float(np.sqrt(variance))
    return AccuracyEstimate(
        accuracy, max(accuracy - spread, 0.0), min(accuracy + spread, 1.0), classes, recalls, shares
    )


def _share_variance(
    answers: Array, targets: TargetLabels, judged: Array, shares: Array, recalls: Array, seed: int
) -> float:
    """Mean squared change of the accuracy from the shares answered to shares that explain them.

    `answers` (L, J): leave-one-out probabilities; their mean by true class is the expected confusion matrix.
    """
    members = np.searchsorted(judged, targets.codes[targets.judged])
    confusion = np.zeros((len(judged), len(judged)))
    np.add.at(confusion, members, answers[targets.judged])
    generator = np.random.default_rng([seed, 3])
    total = 0.0
    for _ in range(DRAWS):
        drawn = generator.standard_gamma(confusion + PRIOR / len(judged))
        drawn /= drawn.sum(axis=1, keepdims=True)
        # Expectation maximisation of the true shares, from those answered.
        true = shares.copy()
        for _ in range(ROUNDS):
            true *= drawn @ np.divide(shares, true @ drawn, out=np.zeros_like(shares), where=true @ drawn > 0)
            true /= true.sum()
        total += float((true - shares) @ recalls) ** 2
    return total / DRAWS
