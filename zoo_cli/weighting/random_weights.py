"""Random weights: the control of paper 000 (arXiv 2304.12314) for knowing nothing of the sources."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import UsageError
from zoo_cli.weighting.similarity import checked

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
    """Weights (S,), sum 1, drawn evenly from all weights there are: the flat Dirichlet distribution, Dirichlet(1).

    Over all sources that have a score (S,), whatever it is; an undefined one (NaN) weighs 0. `k`: draws k of them first
    and weighs these; the paper's 4-simplex is k=5. The same seed and sources give the same weights.

    Raises UsageError for a negative seed or a k that is not among 1..S, ContractError where all are undefined.
    """
    defined = np.flatnonzero(~np.isnan(checked(scores, names)))
    if seed < 0:
        raise UsageError(f"seed={seed} is no seed", "a seed is at least 0")
    if k is not None and not 1 <= k <= len(defined):
        raise UsageError(f"k={k} sources cannot be drawn from {len(defined)}", f"k is 1 to {len(defined)}")
    draw = np.random.default_rng(seed)
    chosen = defined if k is None else draw.choice(defined, size=k, replace=False)
    weights = np.zeros(len(names))
    weights[chosen] = draw.dirichlet(np.ones(len(chosen)))
    return weights
