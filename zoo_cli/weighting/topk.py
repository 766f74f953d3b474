"""The k best sources: the selection before weighting of paper 000 (arXiv 2304.12314), 4.2 and B.2."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import UsageError
from zoo_cli.weighting.similarity import check_scores, power_weights, similarities

Array = NDArray[Any]


def topk(scores: Array, names: Sequence[str], zero_means_none: bool, /, *, k: int = 5, p: float = 9.0) -> Array:
    """Weights (S,), sum 1: those of `power` for the k best of the scores (S,), renormalised; 0 for all others.

    Among equal scores the first are taken; k above the number of sources takes them all. The scores are rescaled over
    all sources before the selection: over the k best alone, the k-th would always weigh 0, and k = 2 would be the best
    source alone. The defaults are our assumption for the paper's VTAB experiments.

    Raises UsageError for k < 1 or p < 0, ContractError where all scores are undefined.
    """
    if k < 1:
        raise UsageError(f"k={k} is below 1", "k is the number of sources to keep")
    weights = power_weights(similarities(scores, names, zero_means_none), p)
    # Undefined scores sort last and weigh 0 anyway.
    weights[np.argsort(-check_scores(scores, names), kind="stable")[k:]] = 0.0
    weights /= weights.sum()
    return weights
