"""From scores to similarities in [0, 1], the first step of the weightings by score (paper 000, A.5)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import ContractError, UsageError

Array = NDArray[Any]


def similarities(scores: Array, names: Sequence[str], zero_means_none: bool) -> Array:
    """Scores (S,) rescaled over the sources to [0, 1]: the best is 1, the worst 0; all are 1 where they are equal.

    `zero_means_none`: zero means no similarity, so that negative scores are clipped to it first. Undefined scores stay
    NaN. Raises ContractError as `check_scores` does.
    """
    values = check_scores(scores, names)
    return rescale(np.maximum(values, 0.0) if zero_means_none else values)


def rescale(values: Array) -> Array:
    """Values (S,), NaN where undefined, to [0, 1]: the highest 1, the lowest 0; all are 1 where they are equal."""
    low, high = np.nanmin(values), np.nanmax(values)
    if low == high:
        return np.where(np.isnan(values), np.nan, 1.0)
    # Only the highest is 1, even where another value differs from it by less than rounding.
    scaled: Array = np.minimum((values - low) / (high - low), np.nextafter(1.0, 0.0))
    scaled[values == high] = 1.0
    return scaled


def check_scores(scores: Array, names: Sequence[str]) -> Array:
    """Scores (S,) as float64, NaN where undefined.

    Raises ContractError for an infinite score, naming its source, and where all are undefined.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != (len(names),):
        raise ContractError(f"scores of shape {values.shape} for {len(names)} sources")
    for name, score in zip(names, values.tolist(), strict=True):
        if np.isinf(score):
            raise ContractError(f"the score of {name} is {score}", "score this source again")
    if np.isnan(values).all():
        raise ContractError("no source has a score to weigh by", "`zoo score` shows the reasons")
    return values


def power_weights(similarity: Array, p: float) -> Array:
    """Weights (S,), sum 1, proportional to similarity (S,) in [0, 1] to the power p; NaN weighs 0.

    p = 0 gives all defined sources equal weight, 0^0 being 1; p = inf gives all weight to the highest, the first among
    equals. Equal similarities weigh equally for any p. Raises UsageError for a negative p.
    """
    if not p >= 0:
        raise UsageError(f"p={p:g} would weigh the least similar most", "p is at least 0; see the weighting inverse")
    defined = ~np.isnan(similarity)
    weights = np.zeros(len(similarity))
    if p == 0 or np.nanmin(similarity) == np.nanmax(similarity):
        weights[defined] = 1.0
    elif np.isinf(p):
        weights[int(np.nanargmax(similarity))] = 1.0
    else:
        # In logarithms relative to the best, so that powers of small similarities cannot make the sum 0.
        with np.errstate(divide="ignore", over="ignore"):
            powers = p * np.log(similarity[defined] / np.nanmax(similarity))
        weights[defined] = np.exp(powers)
    weights /= weights.sum()
    return weights
