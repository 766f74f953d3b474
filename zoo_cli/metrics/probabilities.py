"""What counts as a row of probabilities, for the metrics and for stored files alike."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

SUM_TOLERANCE = 1e-2
"""How far the sum of a row may be from 1: float16 rounds a thousand small probabilities by almost as much."""
EXACT = 1e-3
"""Rows that are off by more are divided by their sum where they are read."""


def invalid_rows(probs: Array, *, distribution: bool = True) -> Array:
    """Which rows (N,) of probs (N, K) hold no probabilities. `distribution`: they must sum to 1 (softmax)."""
    wrong = (probs < 0).any(axis=1) | (probs > 1 + SUM_TOLERANCE).any(axis=1)
    if distribution:
        wrong |= np.abs(probs.sum(axis=1, dtype=np.float64) - 1) > SUM_TOLERANCE
    return np.asarray(wrong)


def restore_sums(probs: Array) -> Array:
    """Probabilities (N, K) in float64 whose rows sum to 1, within `EXACT`."""
    values = probs.astype(np.float64)
    sums = values.sum(axis=1)
    rounded = np.abs(sums - 1) > EXACT
    values[rounded] /= sums[rounded, None]
    return values
