"""How certain a score is: its interval, its replicates and its chance level.

An interval covers the expected score of a probe of this size with 90 % confidence, centred on the score of the whole
probe. All sources of one run have the same seed and the same samples, so that their replicates are paired: effects of
the probe that all sources share cancel in P(best).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from zoo_cli import registry
from zoo_cli.entries import Metric
from zoo_cli.errors import Undefined
from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.plain_metrics import accept_probe
from zoo_cli.metrics.probe import Probe
from zoo_cli.metrics.subsamples import Subsamples
from zoo_cli.ranking.bounds import standard_errors, within_classes
from zoo_cli.ranking.replicate_scores import Score, Scorer, score_permutations, score_subsamples
from zoo_cli.specs import Method

Array = NDArray[Any]

DRAWS = 200  # replicates kept of each score
SUBSAMPLES = 64  # behind them: their standard deviation is exact to 9 %, which costs the interval 0.3 % of coverage
PERMUTATIONS = 10
MANY = 8192  # samples above which there are fewer of both, as one replicate takes seconds
FEW_SUBSAMPLES = 16  # exact to 18 %: Student's quantile, 1.066 times the normal one, keeps the coverage
FEW_PERMUTATIONS = 3
QUANTILE = 1.6448536269514722  # of the normal distribution at 95 %: 90 % two-sided
KEPT_MIX = 1 << 22  # numbers of a random mix of all samples that are drawn at once
NOT_COMPUTED = "not_computed"
SATURATED = 1e-9  # a score this close to its ceiling no longer separates sources


@dataclass(frozen=True)
class Estimate:
    """A score and its uncertainty.

    `low`, `high`: ends of the 90 % interval; `chance`: the mean score under permuted labels; `draws` (B,): replicates
    around `value`, paired over sources by position. Without an interval, `low`, `high` and `draws` are None and
    `reason` is machine readable. `ceiling`: the highest value possible on this probe, None if there is none; `flags`:
    what a reader must know about the value, machine readable: `saturated` at the ceiling, or the metric's own.
    `error`, `error_half`: its standard errors on this probe and on half of it, without what the interval counts twice;
    `chance_error`: that of the chance level.
    """

    value: float
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    draws: Array | None = None
    reason: str | None = None
    ceiling: float | None = None
    flags: tuple[str, ...] = ()
    error: float | None = None
    error_half: float | None = None
    chance_error: float | None = None


@dataclass(frozen=True)
class Replicates:
    """The subsamples and permutations of one target, the same for every source.

    `four_fifth_samples` hold four fifths of every class. They replace the half samples for scores that saturate or bend
    on half a probe. `permutations`: label sides with permuted labels.
    """

    half_samples: Subsamples
    four_fifth_samples: Subsamples
    permutations: tuple[Classes, ...]

    def subsamples_of(self, entry: Metric) -> Subsamples:
        """The subsamples that give the interval of a metric."""
        drawn = self.four_fifth_samples if entry.four_fifths else self.half_samples
        return drawn.first(entry.subsamples)

    def permutations_of(self, entry: Metric) -> tuple[Classes, ...]:
        """The permutations that give the chance level of a metric; none where it has no such level."""
        return self.permutations[: entry.permutations] if entry.chance == "labels" else ()


def draw_replicates(target: Classes, *, seed: int, permutations: int | None = None) -> Replicates:
    """Draw the subsamples and permutations of a target. They depend on its labels and the seed alone.

    `permutations`: None for the usual number, which is smaller above MANY samples, as that of the subsamples is.

    A target without samples, which has nothing to draw, is its own only replicate.
    """
    if not len(target):
        itself = Subsamples(((target.order, target),), 0.0)
        return Replicates(itself, itself, (target,))
    if permutations is None:
        permutations = PERMUTATIONS if len(target) <= MANY else FEW_PERMUTATIONS
    generator = np.random.default_rng([seed, 2])
    permuted = tuple(target.permuted(generator.permutation(len(target))) for _ in range(permutations))
    return Replicates(
        half_samples=_draw_subsamples(target, seed, (target.counts + 1) // 2),
        four_fifth_samples=_draw_subsamples(target, seed, np.maximum(1, 4 * target.counts // 5)),
        permutations=permuted,
    )


def count_evaluations(metrics: Iterable[Metric], replicates: Replicates, *, intervals: bool = True) -> int:
    """How often `estimate_scores` evaluates these metrics on probes, if none of them is undefined."""
    if not intervals:
        return sum(1 for _ in metrics)
    count = 0
    for entry in metrics:
        subsamples = replicates.subsamples_of(entry)
        count += 1 + (1 if entry.leave_one_out else len(subsamples.parts) if subsamples.share else 0)
        count += len(replicates.permutations_of(entry))
    return count


def estimate_scores(
    metrics: Sequence[tuple[Method, Metric]],
    probe: Probe,
    *,
    seed: int,
    replicates: Replicates | None = None,
    advance: Callable[[int], None] = lambda _: None,
    intervals: bool = True,
) -> list[Estimate | Undefined]:
    """The scores of one source by several metrics, each a method and its entry, with intervals and chance levels.

    A metric whose entry names functions of many subsamples or permutations is evaluated by them. On all others every
    subsample and every permutation is one sub-probe, so that they share its products. The entry of a metric says how
    its interval is made: by the jackknife if it names its leave-one-out scores, else from subsamples. `replicates`:
    those of the target, if drawn already; `advance` is called with the number of evaluations that are done. Without
    `intervals` only the values are computed, each for the reason NOT_COMPUTED. A score without a value is the Undefined
    that says why.
    """
    replicates = draw_replicates(probe.target, seed=seed) if replicates is None else replicates
    functions = [Scorer.of(method, entry, advance) for method, entry in metrics]
    results = [
        _score_whole(function, method, entry, probe)
        for function, (method, entry) in zip(functions, metrics, strict=True)
    ]
    if not intervals:
        return [replace(each, reason=NOT_COMPUTED) if isinstance(each, Estimate) else each for each in results]
    estimates = {i: result for i, result in enumerate(results) if isinstance(result, Estimate)}
    variances: dict[int, float | None] = {}
    for i, estimate in estimates.items():
        method, entry = metrics[i]
        if entry.leave_one_out:
            scores = _import_function(entry.leave_one_out)(probe, **method.params)
            estimates[i] = _with_interval(estimate, jackknife_interval(estimate.value, scores, seed=seed))
            variances[i] = within_classes(scores, probe.target.codes, probe.target.counts)
            advance(1)
    groups: dict[Subsamples, list[int]] = {}
    for i in estimates:
        if not metrics[i][1].leave_one_out:
            groups.setdefault(replicates.subsamples_of(metrics[i][1]), []).append(i)
    for subsamples, group in groups.items():
        table = score_subsamples([functions[i] for i in group], probe, subsamples)
        for i, scores in zip(group, table, strict=True):
            method, entry = metrics[i]
            interval = half_sample_interval(
                estimates[i].value,
                scores,
                subsamples.share,
                seed=seed,
                logarithmic=entry.logarithmic and not method.params.get("log", False),
            )
            estimates[i] = _with_interval(estimates[i], interval)
    for i, estimate in estimates.items():
        method, entry = metrics[i]
        if estimate.low is None or estimate.high is None:
            continue
        pairs = _import_function(entry.pair_variance)(probe, **method.params) if entry.pair_variance else 0.0
        variance = variances.get(i) or ((estimate.high - estimate.low) / (2 * QUANTILE)) ** 2
        error, error_half = standard_errors(variance, pairs)
        estimates[i] = replace(estimate, error=error, error_half=error_half)
    relabelled: dict[tuple[Classes, ...], list[int]] = {}
    for i in estimates:
        if metrics[i][1].chance == "labels":
            relabelled.setdefault(replicates.permutations_of(metrics[i][1]), []).append(i)
    for permutations, group in relabelled.items():
        table = score_permutations([functions[i] for i in group], probe, permutations)
        for i, row in zip(group, table, strict=True):
            level, level_error = _chance(row)
            estimates[i] = replace(estimates[i], chance=level, chance_error=level_error)
    return [estimates.get(i, result) for i, result in enumerate(results)]


def chance_levels(functions: Sequence[Score], probe: Probe, replicates: Replicates) -> list[float | None]:
    """The mean score under permuted labels by each of M functions; None if it is undefined for any permutation."""
    return [_chance(row)[0] for row in score_permutations(functions, probe, replicates.permutations)]


def _chance(scores: Array) -> tuple[float | None, float | None]:
    """The mean of scores under permuted labels (P,) and its standard error; None if one of them is undefined."""
    if np.isnan(scores).any():
        return None, None
    error = float(scores.std(ddof=1) / np.sqrt(len(scores))) if len(scores) > 1 else 0.0
    return float(scores.mean()), error


def jackknife_interval(value: float, leave_one_out: Array, *, seed: int, count: int = DRAWS) -> Estimate:
    """The interval of a score from its values without each of the N samples, leave_one_out (N,).

    The variance is (N-1)/N times the sum of squared deviations of those values (Tukey 1958; on average not too small:
    Efron and Stein 1981). The draws weight the samples' deviations by one normal matrix (count, N), the same for every
    source. With NaN among the values there is no interval, reason `undefined_without_one_example`.
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
    """The interval of a score, `value`, from the scores (H,) of subsamples of its probe, NaN where undefined.

    A half sample holds half of every class, rounded up, drawn without replacement: no class vanishes, and all have the
    same class sizes, like probes drawn by class. Only the spread of the subsample scores around their own mean is used,
    never their percentiles: the expected score of a half differs from that of the whole.

    Factor: a linear statistic, a mean of one term per sample, varies between subsamples of k_c of the n_c samples of
    class c by n_c / k_c - 1 times its variance between whole probes; `share` is the mean of that factor, and is divided
    out. It is 1 for half samples of even classes and smaller for odd classes and classes of one sample. A statistic of
    pairs varies a little more, so that its intervals are conservative; tests/metrics/README.md has the measured
    coverage of each metric. From fewer than SUBSAMPLES the spread is widened by Student's quantile over the normal one.

    `logarithmic`: the score is minus a sum of exponentials, and the spread is taken of -log(-score).

    Without an interval the reason is `no_class_with_two_examples`; `undefined_on_halves` if most subsamples have no
    score; or `constant_on_halves` if all have the same, as for a score that saturates on fewer samples.
    """
    if share == 0:
        return Estimate(value, reason="no_class_with_two_examples")
    if logarithmic and value < 0 and (scores[np.isfinite(scores)] < 0).all():
        logs = half_sample_interval(-np.log(-value), -np.log(-scores), share, seed=seed, count=count)
        if logs.draws is None or logs.low is None or logs.high is None:
            return replace(logs, value=value)
        low, high = float(-np.exp(-logs.low)), float(-np.exp(-logs.high))
        return replace(logs, value=value, low=low, high=high, draws=-np.exp(-logs.draws))
    defined = np.isfinite(scores)
    if 2 * defined.sum() < len(scores):
        return Estimate(value, reason="undefined_on_halves")
    if np.ptp(scores[defined]) <= 1e-12 * np.abs(scores[defined]).max():
        return Estimate(value, reason="constant_on_halves")
    # A subsample without a score contributes 0 but keeps its position, so that the others still pair over sources.
    deviations = np.where(defined, scores - scores[defined].mean(), 0.0)
    freedom = defined.sum() - 1
    widening = stdtrit(freedom, 0.95) / QUANTILE if len(scores) < SUBSAMPLES else 1.0
    return _spread(value, widening * deviations / np.sqrt(freedom * share), seed, count)


def _import_function(target: str) -> Callable[..., Any]:
    """A function that the entry of a metric names, as one of a probe."""
    return accept_probe(registry.import_target(target))


def _score_whole(function: Score, method: Method, entry: Metric, probe: Probe) -> Estimate | Undefined:
    """The score itself, with its ceiling and flags."""
    probe.notes.clear()
    try:
        value = float(function(probe))
    except Undefined as undefined:
        return undefined
    flags = list(probe.notes)
    if isinstance(entry.ceiling, str):
        ceiling: float | None = float(_import_function(entry.ceiling)(probe, **method.params))
    else:
        ceiling = entry.ceiling
    if ceiling is not None and value >= ceiling - SATURATED * max(1.0, abs(ceiling)):
        flags.append("saturated")
    chance = None if isinstance(entry.chance, str) else entry.chance
    return Estimate(value, chance=chance, ceiling=ceiling, flags=tuple(flags))


def _with_interval(estimate: Estimate, interval: Estimate) -> Estimate:
    return replace(estimate, low=interval.low, high=interval.high, draws=interval.draws, reason=interval.reason)


def _spread(value: float, parts: Array, seed: int, count: int) -> Estimate:
    """The estimate whose variance is the sum of squares of parts (K,): each draw is a random mix of them."""
    reach = QUANTILE * float(np.sqrt(parts @ parts))
    generator = np.random.default_rng([seed, 1])
    if count * len(parts) <= KEPT_MIX:
        mix = generator.standard_normal((count, len(parts)))
        draws = value + (mix - mix.mean(axis=0)) @ parts
    else:
        mixed = np.array([generator.standard_normal(len(parts)) @ parts for _ in range(count)])
        draws = value + mixed - mixed.mean()
    return Estimate(value, low=value - reach, high=value + reach, draws=draws)


def _draw_subsamples(target: Classes, seed: int, sizes: Array) -> Subsamples:
    """Subsamples with sizes (C,) samples of each class, their rows ascending."""
    generator = np.random.default_rng([seed, 0])
    members = target.members
    samples = []
    for _ in range(SUBSAMPLES if len(target) <= MANY else FEW_SUBSAMPLES):
        drawn = np.zeros(len(target), dtype=bool)
        for rows, size in zip(members, sizes, strict=True):
            drawn[generator.permutation(rows)[:size]] = True
        samples.append(np.flatnonzero(drawn))
    share = float((target.counts * (target.counts / sizes - 1)).sum()) / max(1, len(target))
    return Subsamples(tuple((rows, target.take(rows)) for rows in samples), share)
