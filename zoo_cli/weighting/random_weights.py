"""Random weights: the control experiment of paper 000 (arXiv 2304.12314) for using no score at all."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import UsageError
from zoo_cli.weighting.similarity import check_scores

Array = NDArray[Any]


def random(
    scores: Array,
    names: Sequence[str],
    _zero_means_none: bool,
    /,
    *,
    seed: int = 0,
    k: int | None = None,
) -> Array:
    """Weights (S,), sum 1, drawn uniformly from the simplex: the flat Dirichlet distribution, Dirichlet(1).

    Over all sources that have a score (S,), of any value; an undefined one (NaN) weighs 0. `k`: first draws k of the
    sources, and weighs only these; the paper's 4-simplex is k=5. The same seed and sources give the same weights.

    Raises UsageError for a negative seed or a k outside 1..S, ContractError where all scores are undefined.
    """
    defined = np.flatnonzero(~np.isnan(check_scores(scores, names)))
    if seed < 0:
        raise UsageError(f"seed={seed} is negative", "a seed is at least 0")
    if k is not None and not 1 <= k <= len(defined):
        raise UsageError(f"k={k} sources cannot be drawn from {len(defined)}", f"k is 1 to {len(defined)}")
    generator = np.random.default_rng(seed)
    chosen = defined if k is None else generator.choice(defined, size=k, replace=False)
    weights = np.zeros(len(names))
    weights[chosen] = generator.dirichlet(np.ones(len(chosen)))
    return weights
