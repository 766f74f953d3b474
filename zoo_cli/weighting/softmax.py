"""Softmax of the scores, the alternative mentioned in paper 000 (arXiv 2304.12314), A.5."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import UsageError
from zoo_cli.weighting.similarity import check_scores

Array = NDArray[Any]


def softmax(scores: Array, names: Sequence[str], _zero_means_none: bool, /, *, T: float) -> Array:
    """Weights (S,), sum 1, proportional to exp(score / T) of the raw scores (S,), neither clipped nor rescaled.

    T near 0 is the best source alone, T = inf weighs all equally. T has no default, as it has the unit of the score. An
    undefined score (NaN) weighs 0. Raises UsageError for T <= 0, ContractError where all scores are undefined.
    """
    if not T > 0:
        raise UsageError(f"T={T:g} is not positive", "T is a temperature in units of the score")
    values = check_scores(scores, names)
    weights = np.zeros(len(values))
    defined = ~np.isnan(values)
    with np.errstate(over="ignore"):
        weights[defined] = np.exp((values[defined] - np.nanmax(values)) / T)
    weights /= weights.sum()
    return weights
