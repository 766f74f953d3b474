"""Most weight on the worst sources: the control experiment of paper 000 (arXiv 2304.12314)."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import UsageError
from zoo_cli.weighting.similarity import check_scores, power_weights, rescale

Array = NDArray[Any]


def inverse(
    scores: Array,
    names: Sequence[str],
    zero_means_none: bool,
    /,
    *,
    form: Literal["reciprocal", "complement"] = "reciprocal",
    p: float = 1.0,
) -> Array:
    """Weights (S,), sum 1, that fall as the scores (S,) rise.

    `reciprocal`: proportional to (1 / s)^p, s the score clipped at the smallest positive one; nearly equal weights in
    practice, and only for scores whose zero means no similarity. `complement`: proportional to (1 - e)^p, e the scores
    rescaled to [0, 1], so that the best source weighs 0. p = 0: equal weights; p = inf: the worst source alone, the
    first among equals. Equal scores weigh equally; an undefined score (NaN) weighs 0.

    Raises UsageError for p < 0, or for `reciprocal` with a score whose zero does not mean "no similarity";
    ContractError where all scores are undefined.
    """
    values = check_scores(scores, names)
    if form == "complement":
        # 1 - e is the rescaled negative.
        return power_weights(rescale(-np.maximum(values, 0.0) if zero_means_none else -values), p)
    if not zero_means_none:
        raise UsageError("form=reciprocal needs a score whose zero means no similarity", "use form=complement")
    positive = values[values > 0]
    if not len(positive):
        return power_weights(np.where(np.isnan(values), np.nan, 1.0), p)
    least = float(positive.min())
    return power_weights(least / np.maximum(values, least), p)
