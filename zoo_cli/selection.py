"""How sure a score is, and what follows for the choice among sources: intervals, chances, ranks.

An interval says where the expected score of a probe of this size lies, with 90 % confidence, centred on the score of
the whole probe. All sources of one run are given the same seed and the same samples, so that their replicates pair:
what one probe does to all of them alike cancels from P(best).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli import registry
from zoo_cli.errors import ContractError, Undefined
from zoo_cli.registry import Method, Metric

Array = NDArray[Any]
Score = Callable[[Array, Array], float]

DRAWS = 200  # replicates kept of each score
HALVES = 64  # halves behind them: their standard deviation is known to 9 %, which costs the interval 0.3 % of coverage
PERMUTATIONS = 10
QUANTILE = 1.6448536269514722  # of the normal distribution at 95 %: two sides of 90 %


@dataclass(frozen=True)
class Estimate:
    """A score and its uncertainty.

    `low`, `high`: ends of the 90 % interval; `chance`: the mean score under permuted labels; `draws` (B,): replicates
    around `value`, paired over sources by position. Without an interval, `low`, `high` and `draws` are None and
    `reason` is machine readable.
    """

    value: float
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    draws: Array | None = None
    reason: str | None = None


def estimate(method: Method, facts: Metric, inputs: Array, labels: Array, *, seed: int) -> Estimate:
    """A metric's score of inputs (N, D) and labels (N,) with its interval and chance level.

    The interval is made as the metric's entry says: by the jackknife where it names its leave-one-out scores, else by
    halves of the probe. Raises Undefined where the score itself has no value.
    """
    function: Score = partial(method.function, **method.params)
    value = float(function(inputs, labels))
    if facts.leave_one_out:
        others = registry.imported(facts.leave_one_out)(inputs, labels, **method.params)
        found = jackknife(value, others, seed=seed)
    else:
        found = halves(function, inputs, labels, value, seed=seed)
    return replace(found, chance=chance_level(function, inputs, labels, seed=seed))


def jackknife(value: float, leave_one_out: Array, *, seed: int, count: int = DRAWS) -> Estimate:
    """The interval of a score from its values without each of the N samples, leave_one_out (N,).

    The variance is (N-1)/N times the sum of squared deviations of those values (Tukey 1958; Efron and Stein 1981: on
    average not too small). The draws weigh the samples' deviations with one normal matrix (count, N), the same for
    every source. NaN among the values: no interval, reason `undefined_without_one_example`.
    """
    size = len(leave_one_out)
    if size < 3:
        return Estimate(value, reason="too_few_examples")
    if not np.isfinite(leave_one_out).all():
        return Estimate(value, reason="undefined_without_one_example")
    return _spread(value, (leave_one_out.mean() - leave_one_out) * np.sqrt((size - 1) / size), seed, count)


def halves(function: Score, inputs: Array, labels: Array, value: float, *, seed: int, count: int = DRAWS) -> Estimate:
    """The interval of a score, `value`, of inputs (N, D) and labels (N,) from its deviations on halves of the probe.

    A half holds half of every class, rounded up, drawn without replacement: no class vanishes, and all halves have the
    same class sizes, as probes have that are drawn by class. Only the spread of the scores of the halves around their
    own mean is used, never their percentiles: a half has another expected score than the whole.

    Factor: a linear statistic, a mean of one term a sample, varies between halves of k_c of the n_c samples of class c
    with n_c / k_c - 1 times its variance between whole probes. That is 1 for even classes, so halves need no factor;
    what odd classes and classes of one sample leave of it is divided out. A statistic of pairs varies a little more,
    which leaves its intervals conservative; tests/metrics/README.md has the coverage measured for each metric.

    No interval, with the reason: `no_class_with_two_examples`, or `undefined_on_halves` where most halves have no
    score.
    """
    sizes = np.unique(labels, return_counts=True)[1]
    share = float((sizes * (sizes / ((sizes + 1) // 2) - 1)).sum() / sizes.sum())
    if share == 0:
        return Estimate(value, reason="no_class_with_two_examples")
    scores = np.full(HALVES, np.nan)
    for i, chosen in enumerate(_draw(labels, seed)):
        try:
            scores[i] = function(inputs[chosen], labels[chosen])
        except Undefined:
            continue
    defined = np.isfinite(scores)
    if 2 * defined.sum() < HALVES:
        return Estimate(value, reason="undefined_on_halves")
    # A half without a score takes no part, and keeps its place so that the others still pair over sources.
    deviations = np.where(defined, scores - scores[defined].mean(), 0.0)
    return _spread(value, deviations / np.sqrt((defined.sum() - 1) * share), seed, count)


def chance_level(
    function: Score, inputs: Array, labels: Array, *, seed: int, count: int = PERMUTATIONS
) -> float | None:
    """The mean score of inputs (N, D) under `count` permutations of labels (N,); None where it has no value."""
    draw = np.random.default_rng([seed, 2])
    try:
        return float(np.mean([function(inputs, draw.permutation(labels)) for _ in range(count)]))
    except Undefined:
        return None


def best_probability(draws: Array) -> Array:
    """How likely each source is to be the best one: the share of paired replicates that it wins, ties split.

    draws (S, B), a row of NaN for a source without a value. Returns (S,), which sums to 1 where any row is defined.
    """
    top = np.where(np.isnan(draws), -np.inf, draws)
    best = (top == top.max(axis=0, initial=-np.inf)) & ~np.isnan(draws)
    shares = best / np.maximum(best.sum(axis=0), 1)
    result: Array = shares.mean(axis=1)
    return result


def competition_ranks(values: Array) -> Array:
    """Ranks of values (S,), 1 for the highest; equal ones share a rank and the next one is skipped: 1, 2, 2, 4.

    NaN, undefined, ranks after all others.
    """
    defined = np.sort(values[~np.isnan(values)])
    above = len(defined) - np.searchsorted(defined, values, side="right")
    return np.where(np.isnan(values), len(defined), above) + 1


def effective_number(weights: Array) -> float:
    """How many sources weights (S,) >= 0 amount to: exp of their entropy, 1 for one source, S for equal weights."""
    total = weights.sum()
    if not total > 0 or (weights < 0).any():
        raise ContractError("weights must be at least 0, and one of them above it")
    shares = weights[weights > 0] / total
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _spread(value: float, parts: Array, seed: int, count: int) -> Estimate:
    """The estimate whose variance is the sum of squares of parts (K,): each draw is a random mix of them."""
    reach = QUANTILE * float(np.sqrt(parts @ parts))
    mix = np.random.default_rng([seed, 1]).standard_normal((count, len(parts)))
    draws = value + (mix - mix.mean(axis=0)) @ parts
    return Estimate(value, low=value - reach, high=value + reach, draws=draws)


def _draw(labels: Array, seed: int) -> list[Array]:
    """Row indices, ascending, of each half. They depend on the labels, the seed and nothing else."""
    draw = np.random.default_rng([seed, 0])
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return [
        np.sort(np.concatenate([draw.permutation(rows)[: (len(rows) + 1) // 2] for rows in members]))
        for _ in range(HALVES)
    ]
