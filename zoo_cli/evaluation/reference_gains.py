"""What choosing by a metric gains over a reference source, say the most general one, on one target.

As in `ranking_quality`, values (S,) are scores, NaN if undefined, and accuracies (S,) what transfer reached; tied
scores give the exact mean over all orders of the tied sources. The reference is a choice too where it has a score.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.evaluation.ranking_quality import mean_interval, score_ranks

Array = NDArray[Any]

LIMITS = (-np.inf, np.inf)


@dataclass(frozen=True)
class ReferenceGain:
    """The gain of the first choice, of the best of the first few, and of the best source there is, in accuracy.

    `gaining`: how many of the `sources` gain. Source: paper 001 (2102.00084), figures of accuracy gain.
    """

    first: float
    top: float
    best: float
    gaining: int
    sources: int


@dataclass(frozen=True)
class MeanGain:
    """The means over targets of `ReferenceGain`, with the ends of their 90 % intervals, None for one target.

    `caught`: the mean gain of the best of the first few over the mean best gain; None if that is not above 0.
    `gaining`: the mean share of sources that gain.
    """

    targets: int
    gaining: float
    caught: float | None = None
    first: float | None = None
    first_low: float | None = None
    first_high: float | None = None
    top: float | None = None
    top_low: float | None = None
    top_high: float | None = None
    best: float | None = None
    best_low: float | None = None
    best_high: float | None = None


def reference_gain(values: Array, accuracies: Array, reference: float, top: int) -> ReferenceGain:
    """The gains of choosing by a metric on one target over the accuracy of the reference.

    top >= 1: how many sources are tried; the most accurate of them counts, all if there are fewer.
    """
    gains = accuracies - reference
    return ReferenceGain(
        expected_best(values, gains, 1),
        expected_best(values, gains, top),
        float(gains.max()),
        int((gains > 0).sum()),
        len(gains),
    )


def mean_over_probes(gains: Sequence[ReferenceGain]) -> ReferenceGain:
    """The mean over several probe sets of one target."""
    first, top = (float(np.mean([getattr(gain, name) for gain in gains])) for name in ("first", "top"))
    return replace(gains[0], first=first, top=top)


def expected_best(values: Array, outcomes: Array, count: int) -> float:
    """The mean over all orders of tied sources of the largest outcome among the metric's first `count` sources."""
    ranks = score_ranks(values)
    surely = np.flatnonzero(np.cumsum(np.bincount(ranks))[ranks] <= count)
    left = min(count, len(values)) - len(surely)
    floor = float(outcomes[surely].max()) if len(surely) else -np.inf
    if left == 0:
        return floor
    tied = np.sort(outcomes[ranks == ranks[surely].max(initial=-1) + 1])
    # The largest of a random subset is the i-th smallest, from 0, if the others come from the i below it.
    chances = np.array([comb(i, left - 1) for i in range(len(tied))]) / comb(len(tied), left)
    return float(chances @ np.maximum(tied, floor))


def mean_gain(gains: Sequence[ReferenceGain]) -> MeanGain:
    """The means over one or more targets."""
    means: dict[str, float | None] = {}
    for name in ("first", "top", "best"):
        interval = mean_interval(np.array([getattr(gain, name) for gain in gains]), LIMITS)
        means |= dict(zip((name, f"{name}_low", f"{name}_high"), interval, strict=True))
    top, best = means["top"], means["best"]
    caught = None if top is None or best is None or best <= 0 else top / best
    gaining = float(np.mean([gain.gaining / gain.sources for gain in gains]))
    return MeanGain(len(gains), caught=caught, gaining=gaining, **means)
