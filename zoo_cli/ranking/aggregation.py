"""Several metrics as one: Borda counts, mean z-scores, and the capacity term of the PARC benchmark."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
LAYERS = 50.0


def standardised(scores: Array) -> Array:
    """z-scores (M, S) of M metrics over S sources, by the deviation with S - 1 as the PARC benchmark has it.

    NaN stays; a metric that tells the sources apart by nothing gives 0.
    """
    mean = np.nanmean(scores, axis=1, keepdims=True)
    known = np.isfinite(scores).sum(axis=1, keepdims=True)
    squares = np.nansum((scores - mean) ** 2, axis=1, keepdims=True)
    deviation = np.sqrt(squares / np.maximum(known - 1, 1))
    z = np.divide(scores - mean, deviation, out=np.zeros_like(scores), where=deviation > 0)
    result: Array = np.where(np.isfinite(scores), z, np.nan)
    return result


def mean_z(scores: Array) -> Array:
    """The mean z-score (S,) of M metrics, scores (M, S). NaN for a source that any metric leaves undefined."""
    result: Array = standardised(scores).mean(axis=0)
    return result


def mean_z_draws(scores: Array, draws: Array) -> Array:
    """Replicates (S, B) of the mean z-score from scores (M, S) and their paired replicates (M, S, B).

    Each replicate of the scores is put on the scale of the scores themselves, so that only what differs between
    sources is uncertain, not the unit.
    """
    mean = np.nanmean(scores, axis=1)[:, None, None]
    known = np.isfinite(scores).sum(axis=1)
    deviation = np.sqrt(np.nansum((scores - mean[:, :, 0]) ** 2, axis=1) / np.maximum(known - 1, 1))[:, None, None]
    z = np.divide(draws - mean, deviation, out=np.zeros_like(draws), where=deviation > 0)
    result: Array = z.mean(axis=0)
    return result


def borda(scores: Array) -> Array:
    """Borda counts (S,) of M metrics, scores (M, S): how many sources each one leaves behind, ties half, summed.

    A source that a metric leaves undefined is behind all others there.
    """
    filled = np.where(np.isfinite(scores), scores, -np.inf)
    above = (filled[:, :, None] > filled[:, None, :]).sum(axis=2)
    level = (filled[:, :, None] == filled[:, None, :]).sum(axis=2) - 1
    result: Array = (above + level / 2).sum(axis=0)
    return result


def plasticity(scores: Array, depth: Array) -> Array:
    """z-score over the sources plus depth / 50 (S,): the capacity term of the PARC benchmark (Bolya 2021).

    scores (S,), depth (S,) in layers; NaN where a source's depth is not declared.
    """
    result: Array = standardised(scores[None])[0] + depth / LAYERS
    return result
