"""The worst sources most: the control of paper 000 (arXiv 2304.12314) that similarity should beat."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import UsageError
from zoo_cli.weighting.similarity import checked, rescaled, to_the_power

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
    practice, and only for scores whose zero means no similarity. `complement`: to (1 - e)^p, e the scores rescaled to
    [0, 1], so that the best source weighs 0. p = 0: equal, p = inf: the worst alone, the first in order of equals.
    Equal scores weigh equally; an undefined score (NaN) weighs 0.

    Raises UsageError for p < 0, or `reciprocal` of a score that may be negative everywhere; ContractError where all
    scores are undefined.
    """
    known = checked(scores, names)
    if form == "complement":
        # 1 - e is the rescaled negative.
        return to_the_power(rescaled(-np.maximum(known, 0.0) if zero_means_none else -known), p)
    if not zero_means_none:
        raise UsageError("form=reciprocal needs a score whose zero means no similarity", "use form=complement")
    positive = known[known > 0]
    if not len(positive):
        return to_the_power(np.where(np.isnan(known), np.nan, 1.0), p)
    least = float(positive.min())
    return to_the_power(least / np.maximum(known, least), p)
