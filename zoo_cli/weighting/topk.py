"""The best few sources: the selection before weighting of paper 000 (arXiv 2304.12314), 4.2 and B.2."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import UsageError
from zoo_cli.weighting.similarity import checked, similarities, to_the_power

Array = NDArray[Any]


def topk(scores: Array, names: Sequence[str], zero_means_none: bool, /, *, k: int = 5, p: float = 9.0) -> Array:
    """Weights (S,), sum 1: those of `power` for the k best of the scores (S,), renormalised; 0 for all others.

    Of equal scores the first in order are taken; k above the number of sources takes them all. The scores are
    rescaled over all sources before the selection: over the k alone, the k-th would always weigh 0, and k = 2 would be
    the best one alone. Defaults are those assumed of the paper's VTAB experiments.

    Raises UsageError for k < 1 or p < 0, ContractError where all scores are undefined.
    """
    if k < 1:
        raise UsageError(f"k={k} selects no source", "k is at least 1")
    weights = to_the_power(similarities(scores, names, zero_means_none), p)
    # Undefined scores are sorted last, and weigh 0 in any case.
    weights[np.argsort(-checked(scores, names), kind="stable")[k:]] = 0.0
    weights /= weights.sum()
    return weights
