"""How sure a score is, and what follows for the choice among sources: intervals, chances, ranks.

An interval says where the expected score of a probe of this size lies, with 90 % confidence, centred on the score of
the whole probe. All sources of one run are given the same seed and the same samples, so that their replicates pair:
what one probe does to all of them alike cancels from P(best).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from zoo_cli import registry
from zoo_cli.errors import ContractError, Undefined
from zoo_cli.registry import Metric
from zoo_cli.specs import Method

Array = NDArray[Any]

DRAWS = 200  # replicates kept of each score
HALVES = 64  # halves behind them: their standard deviation is known to 9 %, which costs the interval 0.3 % of coverage
PERMUTATIONS = 10
QUANTILE = 1.6448536269514722  # of the normal distribution at 95 %: two sides of 90 %
SATURATED = 1e-9  # a score that is so near to its ceiling tells sources apart no more


class Target(Protocol):
    """The label side of a probe, as `metrics.labels.Classes`: codes (N,), counts (C,)."""

    @property
    def codes(self) -> Array: ...
    @property
    def counts(self) -> Array: ...
    def take(self, rows: Array) -> Any: ...
    def permuted(self, order: Array) -> Any: ...


class Probe(Protocol):
    """One source on the probe set, as `metrics.probe.Probe`."""

    @property
    def target(self) -> Any: ...
    @property
    def notes(self) -> list[str]: ...
    def take(self, rows: Array, target: Any) -> "Probe": ...
    def with_labels(self, target: Any) -> "Probe": ...


Score = Callable[[Any], float]


@dataclass(frozen=True)
class Estimate:
    """A score and its uncertainty.

    `low`, `high`: ends of the 90 % interval; `chance`: the mean score under permuted labels; `draws` (B,): replicates
    around `value`, paired over sources by position. Without an interval, `low`, `high` and `draws` are None and
    `reason` is machine readable. `ceiling`: the highest value possible on this probe, None where there is none;
    `flags`: what a reader must know of the value, machine readable: `saturated` at the ceiling, or a metric's own.
    """

    value: float
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    draws: Array | None = None
    reason: str | None = None
    ceiling: float | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Replicates:
    """The halves and the permutations of one target, the same for every source.

    `halves`: rows of each half, and its label side; `permutations`: label sides; `share`: by how much the variance
    between halves exceeds that between whole probes, see `halves`. `fifths`: the same with four fifths of every class
    in place of halves, for scores that on half a probe are another score: they saturate, or bend too much.
    """

    halves: tuple[tuple[Array, Any], ...]
    permutations: tuple[Any, ...]
    share: float
    fifths: "Replicates | None" = None

    def of(self, facts: Metric) -> "Replicates":
        """The subsets from which this metric's interval is made."""
        return self.fifths if facts.four_fifths and self.fifths is not None else self


def draw_replicates(target: Target, *, seed: int, permutations: int = PERMUTATIONS) -> Replicates:
    """Draw the halves and permutations of a target. They depend on its labels, the seed and nothing else."""
    draw = np.random.default_rng([seed, 2])
    permuted = tuple(target.permuted(draw.permutation(len(target.codes))) for _ in range(permutations))
    fifths = _subsets(target, seed, np.maximum(1, 4 * target.counts // 5))
    halves = _subsets(target, seed, (target.counts + 1) // 2)
    return Replicates(halves[0], permuted, halves[1], Replicates(fifths[0], permuted, fifths[1]))


def estimate_scores(
    questions: Sequence[tuple[Method, Metric]], probe: Probe, *, seed: int, drawn: Replicates | None = None
) -> list[Estimate | Undefined]:
    """The scores of one source by several metrics, each with its interval and chance level, in one pass.

    Each half and each permutation is one sub-probe on which all metrics are evaluated, so that they share its products.
    An interval is made as the metric's entry says: by the jackknife where it names its leave-one-out scores, else by
    halves of the probe. `drawn`: the replicates of the target, where they are known already. In place of a score that
    has no value stands why.
    """
    drawn = draw_replicates(probe.target, seed=seed) if drawn is None else drawn
    found: list[Estimate | Undefined] = [_whole(method, facts, probe) for method, facts in questions]
    for i, (method, facts) in enumerate(questions):
        one = found[i]
        if isinstance(one, Estimate) and facts.leave_one_out:
            others = registry.import_target(facts.leave_one_out)(probe, **method.params)
            found[i] = _joined(one, jackknife_interval(one.value, others, seed=seed))
    halved = [i for i, one in enumerate(found) if isinstance(one, Estimate) and not questions[i][1].leave_one_out]
    for fifths in (False, True):
        group = [i for i in halved if questions[i][1].four_fifths is fifths]
        some = drawn if not fifths or drawn.fifths is None else drawn.fifths
        for i, scores in zip(
            group, score_half_samples([_score(questions[i][0]) for i in group], probe, some), strict=True
        ):
            one = found[i]
            assert isinstance(one, Estimate)
            method, facts = questions[i]
            logarithmic = facts.logarithmic and not method.params.get("log", False)
            found[i] = _joined(
                one, half_sample_interval(one.value, scores, some.share, seed=seed, logarithmic=logarithmic)
            )
    known = [i for i, one in enumerate(found) if isinstance(one, Estimate) and questions[i][1].chance == "labels"]
    levels = chance_levels([_score(questions[i][0]) for i in known], probe, drawn)
    for i, level in zip(known, levels, strict=True):
        one = found[i]
        assert isinstance(one, Estimate)
        found[i] = replace(one, chance=level)
    return found


def score_half_samples(functions: Sequence[Score], probe: Probe, drawn: Replicates) -> Array:
    """The scores of every half by each of Q functions: (Q, HALVES), NaN where one has no value."""
    scores = np.full((len(functions), len(drawn.halves)), np.nan)
    if not functions or drawn.share == 0:
        return scores
    for column, (rows, target) in enumerate(drawn.halves):
        half = probe.take(rows, target)
        for row, function in enumerate(functions):
            try:
                scores[row, column] = function(half)
            except Undefined:
                continue
    return scores


def chance_levels(functions: Sequence[Score], probe: Probe, drawn: Replicates) -> list[float | None]:
    """The mean score by each of Q functions under the permuted labels; None where one of them has no value."""
    scores = np.full((len(functions), len(drawn.permutations)), np.nan)
    for column, target in enumerate(drawn.permutations):
        other = probe.with_labels(target)
        for row, function in enumerate(functions):
            try:
                scores[row, column] = function(other)
            except Undefined:
                continue
    return [None if np.isnan(row).any() else float(row.mean()) for row in scores]


def jackknife_interval(value: float, leave_one_out: Array, *, seed: int, count: int = DRAWS) -> Estimate:
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


def half_sample_interval(
    value: float, scores: Array, share: float, *, seed: int, count: int = DRAWS, logarithmic: bool = False
) -> Estimate:
    """The interval of a score, `value`, from the scores (H,) of halves of its probe, NaN where one has none.

    A half holds half of every class, rounded up, drawn without replacement: no class vanishes, and all halves have the
    same class sizes, as probes have that are drawn by class. Only the spread of the scores of the halves around their
    own mean is used, never their percentiles: a half has another expected score than the whole.

    Factor: a linear statistic, a mean of one term a sample, varies between halves of k_c of the n_c samples of class c
    with n_c / k_c - 1 times its variance between whole probes: `share` is the mean of that. It is 1 for even classes,
    so that halves need no factor; what odd classes and classes of one sample leave of it is divided out. A statistic of
    pairs varies a little more, which leaves its intervals conservative; tests/metrics/README.md has the coverage
    measured for each metric.

    `logarithmic`: the score is minus a sum of exponentials, and its spread is that of minus the logarithm of its size.

    No interval, with the reason: `no_class_with_two_examples`; `undefined_on_halves` where most halves have no score;
    `constant_on_halves` where all have the same, as a score has that saturates on fewer samples.
    """
    if share == 0:
        return Estimate(value, reason="no_class_with_two_examples")
    if logarithmic and value < 0 and (scores[np.isfinite(scores)] < 0).all():
        found = half_sample_interval(-np.log(-value), -np.log(-scores), share, seed=seed, count=count)
        if found.draws is None or found.low is None or found.high is None:
            return replace(found, value=value)
        ends = -np.exp(-found.low), -np.exp(-found.high)
        return replace(found, value=value, low=float(ends[0]), high=float(ends[1]), draws=-np.exp(-found.draws))
    defined = np.isfinite(scores)
    if 2 * defined.sum() < len(scores):
        return Estimate(value, reason="undefined_on_halves")
    if np.ptp(scores[defined]) <= 1e-12 * np.abs(scores[defined]).max():
        return Estimate(value, reason="constant_on_halves")
    # A half without a score takes no part, and keeps its place so that the others still pair over sources.
    deviations = np.where(defined, scores - scores[defined].mean(), 0.0)
    return _spread(value, deviations / np.sqrt((defined.sum() - 1) * share), seed, count)


def best_probability(draws: Array) -> Array:
    """How likely each source is to be the best one: the share of paired replicates that it wins, ties split.

    draws (S, B), a row of NaN for a source without a value. Returns (S,), which sums to 1 where any row is defined.
    """
    top = np.where(np.isnan(draws), -np.inf, draws)
    best = (top == top.max(axis=0, initial=-np.inf)) & ~np.isnan(draws)
    shares = best / np.maximum(best.sum(axis=0), 1)
    result: Array = shares.mean(axis=1)
    return result


def beats(draws: Array) -> Array:
    """How likely each source is to be better than each other one: (S, S) shares of paired replicates, ties half.

    draws (S, B), rows of NaN for sources without a value; entries of those, and of a source with itself, are NaN.
    """
    count = len(draws)
    found = np.full((count, count), np.nan)
    for a in range(count):
        for b in range(count):
            if a != b and np.isfinite(draws[a]).all() and np.isfinite(draws[b]).all():
                found[a, b] = ((draws[a] > draws[b]) + 0.5 * (draws[a] == draws[b])).mean()
    return found


def rank_intervals(draws: Array) -> Array:
    """The 90 % interval of each source's rank, (S, 2): the 5 % and 95 % quantiles of its rank over the replicates.

    draws (S, B); NaN for a source without a value, which ranks nowhere.
    """
    known = np.isfinite(draws).all(axis=1)
    found = np.full((len(draws), 2), np.nan)
    if known.any():
        ranks = 1 + (draws[known][None, :, :] > draws[known][:, None, :]).sum(axis=1)
        found[known] = np.quantile(ranks, [0.05, 0.95], axis=1, method="nearest").T
    return found


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


def _score(method: Method) -> Score:
    return partial(method.function, **method.params)


def _whole(method: Method, facts: Metric, probe: Probe) -> Estimate | Undefined:
    """The score itself, with its ceiling and flags."""
    probe.notes.clear()
    try:
        value = float(method.function(probe, **method.params))
    except Undefined as undefined:
        return undefined
    flags = list(probe.notes)
    if isinstance(facts.ceiling, str):
        ceiling: float | None = float(registry.import_target(facts.ceiling)(probe, **method.params))
    else:
        ceiling = facts.ceiling
    if ceiling is not None and value >= ceiling - SATURATED * max(1.0, abs(ceiling)):
        flags.append("saturated")
    chance = None if isinstance(facts.chance, str) else facts.chance
    return Estimate(value, chance=chance, ceiling=ceiling, flags=tuple(flags))


def _joined(one: Estimate, interval: Estimate) -> Estimate:
    return replace(one, low=interval.low, high=interval.high, draws=interval.draws, reason=interval.reason)


def _spread(value: float, parts: Array, seed: int, count: int) -> Estimate:
    """The estimate whose variance is the sum of squares of parts (K,): each draw is a random mix of them."""
    reach = QUANTILE * float(np.sqrt(parts @ parts))
    mix = np.random.default_rng([seed, 1]).standard_normal((count, len(parts)))
    draws = value + (mix - mix.mean(axis=0)) @ parts
    return Estimate(value, low=value - reach, high=value + reach, draws=draws)


def _subsets(target: Target, seed: int, kept: Array) -> tuple[tuple[tuple[Array, Any], ...], float]:
    """Subsets of a target with `kept` (C,) samples a class: their rows, ascending, and label sides; their share."""
    draw = np.random.default_rng([seed, 0])
    members = [np.flatnonzero(target.codes == label) for label in np.unique(target.codes)]
    rows = [
        np.sort(np.concatenate([draw.permutation(mine)[:count] for mine, count in zip(members, kept, strict=True)]))
        for _ in range(HALVES)
    ]
    share = float((target.counts * (target.counts / kept - 1)).sum()) / max(1, len(target.codes))
    return tuple((chosen, target.take(chosen)) for chosen in rows), share
