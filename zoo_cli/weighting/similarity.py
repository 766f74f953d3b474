"""From scores to similarities in [0, 1], as every weighting of them starts (paper 000, A.5)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import ContractError, UsageError

Array = NDArray[Any]


def similarities(scores: Array, names: Sequence[str], zero_means_none: bool) -> Array:
    """Scores (S,) rescaled over the sources to [0, 1]: the best is 1, the worst 0; all 1 where all are equal.

    `zero_means_none`: zero is no similarity, so that negative scores are clipped to it first. NaN, undefined, stays
    NaN. Raises ContractError as `checked` does.
    """
    known = checked(scores, names)
    return rescaled(np.maximum(known, 0.0) if zero_means_none else known)


def rescaled(known: Array) -> Array:
    """Values (S,), NaN where undefined, to [0, 1]: the highest 1 and the lowest 0; all 1 where all are equal."""
    low, high = np.nanmin(known), np.nanmax(known)
    if low == high:
        return np.where(np.isnan(known), np.nan, 1.0)
    # The highest alone is 1, also where another one differs from it by less than rounding.
    scaled: Array = np.minimum((known - low) / (high - low), np.nextafter(1.0, 0.0))
    scaled[known == high] = 1.0
    return scaled


def checked(scores: Array, names: Sequence[str]) -> Array:
    """Scores (S,) as float64, NaN where undefined.

    Raises ContractError for an infinite score, naming its source, and where all are undefined.
    """
    known = np.asarray(scores, dtype=np.float64)
    if known.shape != (len(names),):
        raise ContractError(f"scores of shape {known.shape} for {len(names)} sources")
    for name, score in zip(names, known.tolist(), strict=True):
        if np.isinf(score):
            raise ContractError(f"the score of {name} is {score}", "score this source again")
    if np.isnan(known).all():
        raise ContractError("no source has a score to weigh by", "see the reasons in the table of `zoo score`")
    return known


def to_the_power(similarity: Array, p: float) -> Array:
    """Weights (S,) proportional to similarity (S,) in [0, 1] to the power p, which sum to 1; NaN weighs 0.

    p = 0 weighs all defined ones equally, 0^0 being 1; p = inf is the highest one alone, the first of several. Where
    all are equal they weigh equally for any p. Raises UsageError for a negative p.
    """
    if not p >= 0:
        raise UsageError(
            f"p={p:g} would weigh the least similar most", "p is at least 0; the weighting inverse does that"
        )
    defined = ~np.isnan(similarity)
    weights = np.zeros(len(similarity))
    if p == 0 or np.nanmin(similarity) == np.nanmax(similarity):
        weights[defined] = 1.0
    elif np.isinf(p):
        weights[int(np.nanargmax(similarity))] = 1.0
    else:
        # In logarithms, relative to the best, so that no power of a small similarity takes the sum to 0.
        with np.errstate(divide="ignore", over="ignore"):
            powers = p * np.log(similarity[defined] / np.nanmax(similarity))
        weights[defined] = np.exp(powers)
    weights /= weights.sum()
    return weights
