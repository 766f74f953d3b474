"""What a pool's accuracy on the unlabelled images is likely to be, from its own confidence and the labels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from zoo_cli.heads.pooled import Pool
from zoo_cli.heads.target_labels import TargetLabels

Array = NDArray[Any]

TAIL = 0.95
"""Of Student's t distribution: 90 % on two sides."""
WIDENING = 1.25
"""Leave-one-out answers depend on one another, and the same labels chose the penalties and weights. Measured on
fourteen packs, see tests/claims/README.md."""
PRIOR = 0.5
"""Squared errors added to those observed, so that labels that are all answered right do not prove an accuracy of 1."""


@dataclass(frozen=True, eq=False)
class AccuracyEstimate:
    """The estimated accuracy in [0, 1] on the unlabelled images, and the ends of its 90 % interval.

    `confidence`: the mean probability of the pool's answers on the unlabelled images; `surplus`: by how much the share
    of right leave-one-out answers exceeds their mean probability. All are None with a machine-readable `reason`:
    `one_label_per_class` or `no_unlabelled_images`.
    """

    accuracy: float | None
    low: float | None
    high: float | None
    confidence: float | None = None
    surplus: float | None = None
    reason: str | None = None


def estimate_accuracy(pool: Pool, targets: TargetLabels) -> AccuracyEstimate:
    """Mean confidence on the unlabelled images, corrected by that of the leave-one-out answers (Guillory et al. 2021).

    A pool is judged by the labelled images in one respect only: by how much its answers are right more often than their
    probabilities say. The rest it says itself, about the unlabelled images, whose classes need not have the shares of
    the labels. What leave-one-out takes from an answer it takes from its probability too, so that the difference has
    less bias and variance than the accuracy itself. The interval is that of the mean difference by Student's t
    distribution, made a quarter wider, as measured.
    """
    unlabelled = targets.unlabelled
    if targets.reason or not len(unlabelled):
        return AccuracyEstimate(None, None, None, reason=targets.reason or "no_unlabelled_images")
    answers = pool.leave_one_out[targets.judged]
    right = answers.argmax(axis=1) == targets.labels[targets.judged]
    differences = right - answers.max(axis=1)
    confidences = pool.probabilities[unlabelled].max(axis=1)
    surplus, confidence = float(differences.mean()), float(confidences.mean())
    count = len(differences)
    variance = (float(((differences - surplus) ** 2).sum()) + PRIOR) / count**2
    variance += float(confidences.var()) / len(unlabelled)
    accuracy = min(max(confidence + surplus, 0.0), 1.0)
    reach = WIDENING * float(stdtrit(count - 1, TAIL)) * float(np.sqrt(variance))
    return AccuracyEstimate(accuracy, max(accuracy - reach, 0.0), min(accuracy + reach, 1.0), confidence, surplus)
