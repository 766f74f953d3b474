"""Similarity to a power: the weighting of paper 000 (arXiv 2304.12314), eq. 5, and its two limits."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from zoo_cli.weighting.similarity import power_weights, similarities

Array = NDArray[Any]


def power(scores: Array, names: Sequence[str], zero_means_none: bool, /, *, p: float = 12.0) -> Array:
    """Weights (S,), sum 1, proportional to e^p, e the scores (S,) rescaled to [0, 1] over the sources.

    Correlation-type scores (`zero_means_none`) are clipped at 0 first. p = 0: equal weights; p = inf: the best source
    alone, the first among equals; for any p > 0 the worst weighs 0 and the best weighs most. Where all scores are
    equal, or clipping leaves none above 0, all weigh equally; an undefined score (NaN) weighs 0.

    Raises UsageError for p < 0, ContractError where all scores are undefined. The default p is quoted from memory of
    the paper.
    """
    return power_weights(similarities(scores, names, zero_means_none), p)


def equal(scores: Array, names: Sequence[str], zero_means_none: bool, /) -> Array:
    """The same weight for every source with a score: `power` with p = 0, DistillEqual of the paper."""
    return power(scores, names, zero_means_none, p=0.0)


def nearest(scores: Array, names: Sequence[str], zero_means_none: bool, /) -> Array:
    """All weight on the best source: `power` with p = inf, DistillNearest of the paper (eq. 1)."""
    return power(scores, names, zero_means_none, p=float("inf"))
