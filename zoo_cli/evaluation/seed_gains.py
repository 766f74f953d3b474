"""Gains in accuracy between two methods on the same images, each of one or more seeds. Fractions throughout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.special import stdtrit

from zoo_cli.evaluation.accuracy_intervals import QUANTILE, TAIL, difference_interval

Array = np.ndarray
Seed = TypeVar("Seed", int, tuple[str, int])
"""A seed, or the draw of labels from which its run learned, and a seed."""


@dataclass(frozen=True)
class SeedGain:
    """A mean gain in accuracy, in [-1, 1], the ends of its 90 % interval, and the number of seeds on which it rests.

    `paired`: whether both methods have these seeds.
    """

    gain: float
    low: float
    high: float
    seeds: int
    paired: bool


def seed_gain(after: Mapping[Seed, Array], before: Mapping[Seed, Array]) -> SeedGain:
    """The gain of a method over another: by seed, how right (N,) each is on the same N samples, in [0, 1].

    Seeds that both have are compared with one another, and those that only one has are left out. Without a common seed
    their means over seeds are compared. One common seed of runs that are right or wrong gives the interval of
    `accuracy_intervals.paired_difference`. Otherwise the interval covers seeds and images: the variance of the mean is
    that of a crossed design, images plus seeds, as in `accuracy_intervals.seed_group_interval`, with Student's t and
    Satterthwaite's degrees of freedom.
    """
    common = sorted(after.keys() & before.keys())
    if common:
        differences = np.stack([after[seed] - before[seed].astype(float) for seed in common])
        return SeedGain(*_interval([differences], differences.mean(axis=0)), len(common), paired=True)
    sides = [np.stack([*after.values()]).astype(float), np.stack([*before.values()]).astype(float)]
    gains = sides[0].mean(axis=0) - sides[1].mean(axis=0)
    return SeedGain(*_interval(sides, gains), min(len(after), len(before)), paired=False)


def _interval(sides: Sequence[Array], gains: Array) -> tuple[float, float, float]:
    """Mean and interval of gains (N,) by image, with the variation between seeds in each of the `sides` (S, N)."""
    n, mean = len(gains), float(gains.mean())
    gained, lost = int((gains == 1).sum()), int((gains == -1).sum())
    if gained + lost + int((gains == 0).sum()) == n and all(len(side) == 1 or _all_equal(side) for side in sides):
        interval = difference_interval(gained, lost, n)
        return mean, interval.low, interval.high
    images = float(gains.var()) / n
    variance, squares = images, images**2 / max(n - 1, 1)
    for side in sides:
        between, noise = _seed_variances(side)
        if between > noise:
            variance += between - noise
            squares += between**2 / (len(side) - 1) + noise**2 / ((len(side) - 1) * (n - 1))
    quantile = QUANTILE if variance == images else float(stdtrit(variance**2 / squares, 1 - TAIL))
    reach = quantile * variance**0.5
    return mean, max(-1.0, mean - reach), min(1.0, mean + reach)


def _seed_variances(side: Array) -> tuple[float, float]:
    """The variance of the mean by seeds (S, N), and the part of it that is the noise of single images."""
    seeds, n = side.shape
    if seeds < 2 or n < 2:
        return 0.0, 0.0
    by_seed = side.mean(axis=1)
    rest = side - side.mean(axis=0)[None, :] - by_seed[:, None] + side.mean()
    return float(by_seed.var(ddof=1)) / seeds, float((rest**2).sum()) / ((seeds - 1) * (n - 1) * seeds * n)


def _all_equal(side: Array) -> bool:
    return bool((side == side[0]).all())
