"""How well a metric predicts the accuracy of transfer: its measures for one target, and their means over targets.

Throughout, values (S,) are the scores of S sources by one metric for one target, higher is better, NaN if undefined,
and accuracies (S,) are what transfer from those sources reached, 0 or above, in any unit.

Correlations are over the sources that have a score. The other measures are over all sources: those without a score come
last, tied with one another. For tied scores these measures are the exact mean over all orders of the tied sources.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import stdtrit

from zoo_cli.errors import Undefined

Array = NDArray[Any]

LEVEL = 0.9  # of the intervals
SAME = 1e-12  # numbers that differ by less, relative to the largest, differ by rounding
CORRELATIONS = ("spearman", "pearson", "kendall", "weighted_kendall")
RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(CORRELATIONS, (-1.0, 1.0)),
    "relative_accuracy": (0.0, 1.0),
    "regret": (0.0, np.inf),
    "trials": (1.0, np.inf),
}
"""The smallest and the largest possible value of each measure."""


@dataclass(frozen=True)
class RankingQuality:
    """Every measure of one metric on one target, None if undefined.

    `sources`: S; `undefined`: how many of them have no score; `relative_accuracy_at`: at k = 1 to S, and
    `relative_accuracy` its mean; `reason`: why a measure has no value, machine readable.
    """

    sources: int
    undefined: int
    spearman: float | None = None
    pearson: float | None = None
    kendall: float | None = None
    weighted_kendall: float | None = None
    relative_accuracy: float | None = None
    regret: float | None = None
    trials: float | None = None
    relative_accuracy_at: list[float] | None = None
    reason: str | None = None


@dataclass(frozen=True)
class MeanQuality:
    """The means of the measures over targets, each with the ends of its interval over targets, None if undefined.

    `targets`: how many have a measure; `correlated`: how many have correlations, which are averaged over those alone;
    `relative_accuracy_at`: at each k up to the number of sources that every target has.
    """

    targets: int
    correlated: int
    spearman: float | None = None
    spearman_low: float | None = None
    spearman_high: float | None = None
    pearson: float | None = None
    pearson_low: float | None = None
    pearson_high: float | None = None
    kendall: float | None = None
    kendall_low: float | None = None
    kendall_high: float | None = None
    weighted_kendall: float | None = None
    weighted_kendall_low: float | None = None
    weighted_kendall_high: float | None = None
    relative_accuracy: float | None = None
    relative_accuracy_low: float | None = None
    relative_accuracy_high: float | None = None
    regret: float | None = None
    regret_low: float | None = None
    regret_high: float | None = None
    trials: float | None = None
    trials_low: float | None = None
    trials_high: float | None = None
    relative_accuracy_at: list[float | None] | None = None
    relative_accuracy_at_low: list[float | None] | None = None
    relative_accuracy_at_high: list[float | None] | None = None
    reason: str | None = None


def judge_ranking(values: Array, accuracies: Array) -> RankingQuality:
    """Every measure of one metric on one target. A metric without any score has none: it chooses nothing."""
    quality = RankingQuality(len(values), int(np.isnan(values).sum()))
    if quality.undefined == len(values):
        return replace(quality, reason="no_scores")
    try:
        at = relative_accuracy(values, accuracies)
    except Undefined as undefined:
        return replace(quality, reason=undefined.reason)
    quality = replace(
        quality,
        relative_accuracy=float(at.mean()),
        relative_accuracy_at=at.tolist(),
        regret=regret(values, accuracies),
        trials=trials(values, accuracies),
    )
    try:
        spearman, pearson, kendall, weighted = correlations(values, accuracies)
    except Undefined as undefined:
        return replace(quality, reason=undefined.reason)
    return replace(quality, spearman=spearman, pearson=pearson, kendall=kendall, weighted_kendall=weighted)


def correlations(values: Array, accuracies: Array) -> tuple[float, float, float, float]:
    """Spearman's, Pearson's, Kendall's and the weighted Kendall correlation, each in [-1, 1].

    Raises Undefined for fewer than two scores, and if all scores or all accuracies are equal. Kendall's is tau-b. The
    weighted one is the additive hyperbolic tau of Vigna (2015): a pair counts 1/(r+1) + 1/(s+1), r and s its ranks from
    0, best first; it is averaged over ranks by score and by accuracy, scipy's `rank=True`.
    """
    scored = ~np.isnan(values)
    x, y = values[scored].astype(np.float64), accuracies[scored].astype(np.float64)
    if len(x) < 2:
        raise Undefined("fewer_than_two_scores")
    for numbers, reason in ((x, "constant_scores"), (y, "constant_accuracies")):
        if _constant(numbers):
            raise Undefined(reason)
    # Three of them use ranks alone, and differences by rounding should not make a rank.
    first, second = _dense_ranks(x), _dense_ranks(y)
    spearman, kendall, weighted = (
        float(np.clip(function(first, second)[0], -1.0, 1.0))
        for function in (stats.spearmanr, stats.kendalltau, stats.weightedtau)
    )
    return spearman, _pearson(x, y), kendall, weighted


def relative_accuracy(values: Array, accuracies: Array) -> Array:
    """Mean accuracy of the metric's k best sources over that of the k truly best, at k = 1 to S: (S,) in [0, 1].

    Raises Undefined if no accuracy is above 0. Source: paper 000 (2304.12314), Table 3 and appendix A.2.
    """
    if not accuracies.max() > 0:
        raise Undefined("constant_accuracies")
    best = np.cumsum(np.sort(accuracies)[::-1])
    result: Array = np.minimum(np.cumsum(_expected_accuracies(values, accuracies)) / best, 1.0)
    return result


def regret(values: Array, accuracies: Array) -> float:
    """Accuracy lost by the metric's first choice: that of the best source minus its own, 0 or above."""
    return max(0.0, float(accuracies.max() - _expected_accuracies(values, accuracies)[0]))


def trials(values: Array, accuracies: Array) -> float:
    """Number of sources to try in the metric's order until the best one is among them, 1 to S.

    Among m tied sources the best one comes at (m+1)/2 on average; the first of b best ones at (m+1)/(b+1). Source:
    paper 001 (2102.00084), trials to best.
    """
    ranks = score_ranks(values)
    tied, best = np.bincount(ranks), np.bincount(ranks[accuracies == accuracies.max()], minlength=ranks.max() + 1)
    group = int(np.flatnonzero(best)[0])
    return float(tied[:group].sum() + (tied[group] + 1) / (best[group] + 1))


def mean_over_probes(qualities: Sequence[RankingQuality]) -> RankingQuality:
    """The mean of one metric's measures over several probe sets of one target."""
    means = {name: values.mean().item() for name in RANGES if len(values := _defined(qualities, name))}
    curves = _curves(qualities)
    return RankingQuality(
        sources=qualities[0].sources,
        undefined=max(quality.undefined for quality in qualities),
        **means,
        relative_accuracy_at=np.mean(curves, axis=0).tolist() if curves else None,
        reason=_join_reasons(qualities),
    )


def mean_over_targets(qualities: Sequence[RankingQuality]) -> MeanQuality:
    """The mean of one metric's measures over T targets, each with its 90 % interval over targets like these.

    The interval is the mean and Student's t, cut to the range of the measure; None for a single target. In simulations
    with 12 sources per target, it contains the mean over all targets in 84 to 90 % of draws of 3 to 16 targets, for the
    regret, which is skewed, in 76 to 89 %; percentiles of bootstrap draws over targets do in 58 to 62 % of draws of 3.
    """
    means: dict[str, Any] = {}
    for name, limits in RANGES.items():
        interval = mean_interval(_defined(qualities, name), limits)
        means |= dict(zip((name, f"{name}_low", f"{name}_high"), interval, strict=True))
    curves = _curves(qualities)
    shared = min(map(len, curves), default=0)
    limits = RANGES["relative_accuracy"]
    points = [mean_interval(np.array([curve[k] for curve in curves]), limits) for k in range(shared)]
    return MeanQuality(
        targets=len(_defined(qualities, "regret")),
        correlated=len(_defined(qualities, "spearman")),
        **means,
        relative_accuracy_at=[mean for mean, _, _ in points] or None,
        relative_accuracy_at_low=[low for _, low, _ in points] or None,
        relative_accuracy_at_high=[high for _, _, high in points] or None,
        reason=_join_reasons(qualities),
    )


def _defined(qualities: Sequence[RankingQuality], name: str) -> Array:
    """The values (M,) of one measure where it has one."""
    return np.array([value for quality in qualities if (value := getattr(quality, name)) is not None], np.float64)


def _curves(qualities: Sequence[RankingQuality]) -> list[list[float]]:
    return [quality.relative_accuracy_at for quality in qualities if quality.relative_accuracy_at is not None]


def mean_interval(values: Array, limits: tuple[float, float]) -> tuple[float | None, float | None, float | None]:
    """Mean of one value (T,) per target and its interval over targets, Student's t, cut to the limits; see above."""
    if not len(values):
        return None, None, None
    mean = float(values.mean())
    if len(values) == 1:
        return mean, None, None
    quantile = float(stdtrit(len(values) - 1, (1 + LEVEL) / 2))
    reach = quantile * float(values.std(ddof=1)) / len(values) ** 0.5
    return mean, max(limits[0], mean - reach), min(limits[1], mean + reach)


def _join_reasons(qualities: Sequence[RankingQuality]) -> str | None:
    return ",".join(sorted({quality.reason for quality in qualities if quality.reason})) or None


def _constant(numbers: Array) -> bool:
    largest = np.abs(numbers).max()
    return bool(largest == 0 or np.ptp(numbers / largest) <= SAME)


def _dense_ranks(numbers: Array) -> Array:
    """Ranks from 0 for the smallest number, equal for equal numbers and without gaps."""
    ranks: Array = np.unique(numbers, return_inverse=True)[1]
    return ranks


def score_ranks(values: Array) -> Array:
    """0 for the sources with the best score, 1 for those with the next best, …, the last for those without a score."""
    return _dense_ranks(np.where(np.isnan(values), np.inf, -values))


def _expected_accuracies(values: Array, accuracies: Array) -> Array:
    """The expected accuracy at each rank (S,) of the metric's order: tied sources have the mean of theirs."""
    ranks = score_ranks(values)
    tied = np.bincount(ranks)
    expected: Array = np.repeat(np.bincount(ranks, accuracies) / tied, tied)
    return expected


def _pearson(x: Array, y: Array) -> float:
    # Scaled before anything is summed or squared: scores may be as large as floats can be.
    x, y = x / np.abs(x).max(), y / np.abs(y).max()
    x, y = x - x.mean(), y - y.mean()
    return float(np.clip((x @ y) / np.sqrt((x @ x) * (y @ y)), -1.0, 1.0))
