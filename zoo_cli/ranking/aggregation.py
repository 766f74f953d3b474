"""Several metrics combined: mean z-scores and Borda counts, with the capacity term of the PARC benchmark."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
LAYERS = 50.0
"""The capacity term of the PARC benchmark (Bolya 2021) is a source's depth in layers over this; it is added to its mean
z-score."""


def mean_z_draws(scores: Array, draws: Array) -> Array:
    """Replicates (S, B) of the mean z-score over M metrics, from scores (M, S) and their paired replicates (M, S, B).

    z-scores are over the S sources, with the deviation over S - 1 as in the PARC benchmark; a metric that is equal for
    all sources gives 0. Each replicate is put on the scale of the scores themselves, so that the uncertainty is that of
    the differences between sources and not of the unit. NaN for a source that any metric leaves undefined.
    """
    mean = np.nanmean(scores, axis=1)[:, None, None]
    defined = np.isfinite(scores).sum(axis=1)
    squares = np.nansum((scores - mean[:, :, 0]) ** 2, axis=1)
    deviation = np.sqrt(squares / np.maximum(defined - 1, 1))[:, None, None]
    z = np.divide(draws - mean, deviation, out=np.zeros_like(draws), where=deviation > 0)
    result: Array = z.mean(axis=0)
    return result


def borda(scores: Array) -> Array:
    """Borda counts (S,) over M metrics, scores (M, S): the number of sources that each one beats, ties half, summed.

    A source that a metric leaves undefined comes after all others there.
    """
    filled = np.where(np.isfinite(scores), scores, -np.inf)
    ordered = np.sort(filled, axis=1)
    below, upto = (
        np.stack([np.searchsorted(line, values, side) for line, values in zip(ordered, filled, strict=True)])
        for side in ("left", "right")
    )
    result: Array = (below + (upto - below - 1) / 2).sum(axis=0)
    return result
