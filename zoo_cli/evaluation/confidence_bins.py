"""Predictions by their confidence: what a reliability diagram shows."""

from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax

from zoo_cli.evaluation.flip_statistics import BINS, predicted_classes

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class ConfidenceBins:
    """B equal bins of confidence: counts (B,), and mean confidence and accuracy (B,), NaN where a bin is empty.

    Sum of counts / N * |accuracy - confidence| is the `ece` of `flip_statistics.prediction_quality`.
    """

    counts: Array
    confidence: Array
    accuracy: Array


def bin_confidences(labels: Array, logits: Array) -> ConfidenceBins:
    """The bins of `prediction_quality`: labels (N,), logits (N, C) or log-probabilities."""
    confidence = np.exp(log_softmax(logits.astype(np.float64), axis=1).max(axis=1))
    right = predicted_classes(logits) == labels
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    with np.errstate(invalid="ignore"):
        return ConfidenceBins(
            counts,
            np.bincount(bins, confidence, minlength=BINS) / counts,
            np.bincount(bins, right, minlength=BINS) / counts,
        )
