"""Softmax of the scores, the alternative that paper 000 (arXiv 2304.12314) names in A.5."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import UsageError
from zoo_cli.weighting.similarity import checked

Array = NDArray[Any]


def softmax(scores: Array, names: Sequence[str], _zero_means_none: bool, /, *, T: float) -> Array:
    """Weights (S,), sum 1, proportional to exp(score / T) of the raw scores (S,), neither clipped nor rescaled.

    T near 0 is the best source alone, T = inf weighs equally. T has the unit of the score, so that it has no default.
    An undefined score (NaN) weighs 0. Raises UsageError for T <= 0, ContractError where all scores are undefined.
    """
    if not T > 0:
        raise UsageError(f"T={T:g} is no temperature", "T is above 0")
    known = checked(scores, names)
    weights = np.zeros(len(known))
    defined = ~np.isnan(known)
    with np.errstate(over="ignore"):
        weights[defined] = np.exp((known[defined] - np.nanmax(known)) / T)
    weights /= weights.sum()
    return weights
