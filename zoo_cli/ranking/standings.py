"""What scores and their replicates say about the choice among sources: probabilities, ranks and effective number."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import ContractError

Array = NDArray[Any]


def best_probability(draws: Array) -> Array:
    """The probability (S,) of each source to be the best: the share of paired replicates that it wins, ties split.

    draws (S, B), a row of NaN for a source without a value. The probabilities sum to 1 if any row is defined.
    """
    top = np.where(np.isnan(draws), -np.inf, draws)
    best = (top == top.max(axis=0, initial=-np.inf)) & ~np.isnan(draws)
    shares = best / np.maximum(best.sum(axis=0), 1)
    result: Array = shares.mean(axis=1)
    return result


def beats(draws: Array) -> Array:
    """The probability of each source to beat each other one: (S, S) shares of paired replicates, ties count half.

    draws (S, B), rows of NaN for sources without a value; their entries, and the diagonal, are NaN.
    """
    count, size = draws.shape
    shares = np.full((count, count), np.nan)
    defined = np.flatnonzero(np.isfinite(draws).all(axis=1))
    rows = draws[defined]
    for i, row in enumerate(rows):
        # Each pair once: what is not won or tied is lost.
        others = rows[i + 1 :]
        wins = np.count_nonzero(row > others, axis=1) + np.count_nonzero(row == others, axis=1) / 2
        shares[defined[i], defined[i + 1 :]] = wins / size
        shares[defined[i + 1 :], defined[i]] = (size - wins) / size
    return shares


def rank_intervals(draws: Array) -> Array:
    """The 90 % interval of each source's rank, (S, 2): the 5 % and 95 % quantiles of its rank over the replicates.

    draws (S, B); NaN for a source without a value, which has no rank.
    """
    defined = np.isfinite(draws).all(axis=1)
    intervals = np.full((len(draws), 2), np.nan)
    if defined.any():
        ranks = np.stack([competition_ranks(column) for column in draws[defined].T], axis=1)
        intervals[defined] = np.quantile(ranks, [0.05, 0.95], axis=1, method="nearest").T
    return intervals


def competition_ranks(values: Array) -> Array:
    """Ranks of values (S,), 1 for the highest; equal values share a rank and the next is skipped: 1, 2, 2, 4.

    Undefined values, NaN, rank after all others.
    """
    defined = np.sort(values[~np.isnan(values)])
    above = len(defined) - np.searchsorted(defined, values, side="right")
    return np.where(np.isnan(values), len(defined), above) + 1


def effective_number(weights: Array) -> float:
    """Effective number of sources of weights (S,) >= 0: exp of their entropy, 1 for one source, S for equal weights."""
    total = weights.sum()
    if not total > 0 or (weights < 0).any():
        raise ContractError("weights must be at least 0, and one of them positive")
    shares = weights[weights > 0] / total
    return float(np.exp(-(shares * np.log(shares)).sum()))
