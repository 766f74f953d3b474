"""90 % intervals of accuracies and of their differences. Fractions throughout, from counts of right predictions.

They cover the choice of the test images, taken as independent draws, and not the training of a run or the choice of its
labels; `seed_group_interval` covers the seed of the training as well. tests/evaluate/README.md has measured coverages.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import chdtri, ndtri, stdtrit

from zoo_cli.evaluation import flip_statistics

Array = np.ndarray

LEVEL = 0.9
TAIL = (1 - LEVEL) / 2
QUANTILE = float(ndtri(1 - TAIL))
STEPS = 60  # of a bisection: to the last bits of a double


@dataclass(frozen=True)
class Interval:
    """The ends of a 90 % interval."""

    low: float
    high: float


@dataclass(frozen=True)
class PairedDifference:
    """A difference of two accuracies on the same samples, in [-1, 1], the ends of its 90 % interval, and the p of
    McNemar's exact test."""

    difference: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class SeedGroupAccuracy:
    """The mean accuracy of several seeds of one run, and the ends of its 90 % interval."""

    mean: float
    low: float
    high: float


def accuracy_interval(right: int, n: int) -> Interval:
    """The interval of an accuracy of right out of n > 0 samples, in [0, 1].

    Wilson's score interval (1927), without a continuity correction. Its coverage falls to 80 % for accuracies within
    1 / n of 0 and 1; so the end next to one to three right or wrong samples (two at most if n <= 50) is that of a
    Poisson count: the modified interval of Brown, Cai and DasGupta (2001), section 4.1.1.
    """
    low, high = _wilson(right / n, n, QUANTILE)
    low, high = low if right else 0.0, high if right < n else 1.0  # without the rounding of Wilson's formula
    rare = 2 if n <= 50 else 3
    if 1 <= right <= rare:
        low = min(low, _poisson_low(right) / n)
    if 1 <= n - right <= rare:
        high = max(high, 1 - _poisson_low(n - right) / n)
    return Interval(low, high)


def paired_difference(right_before: Array, right_after: Array) -> PairedDifference:
    """The accuracy after less that before, on the same samples: both (N,) bool, N > 0, True where right.

    The interval is that of `difference_interval`, `p_value` that of `flip_statistics.mcnemar`. If p <= 0.05 the
    interval lies on one side of 0. The order of the two changes signs alone.
    """
    n = len(right_before)
    gained, lost = int((~right_before & right_after).sum()), int((right_before & ~right_after).sum())
    interval = difference_interval(gained, lost, n)
    return PairedDifference((gained - lost) / n, interval.low, interval.high, flip_statistics.mcnemar(gained, lost))


def difference_interval(gained: int, lost: int, n: int) -> Interval:
    """The interval of a paired difference of accuracies, in [-1, 1].

    gained, lost: how many of n > 0 samples only the second and only the first has right. Tango's score interval
    (Statistics in Medicine 17, 1998): the differences that McNemar's test, without correction, does not reject at 10 %.
    """
    # Both ends by one function, so that exchanging the two changes signs alone, to the last bit.
    return Interval(-_upper_difference(lost, gained, n), _upper_difference(gained, lost, n))


def seed_group_interval(right: Array) -> SeedGroupAccuracy:
    """The mean accuracy over seeds and samples: right (S, N) bool, a row for each seed, the same N samples in each.

    The interval is of the expected accuracy over seeds and images. The variance of the mean is that of a crossed
    analysis of variance, (MS_images + MS_seeds - MS_rest) / (S N), and at least MS_images / (S N). The interval is
    Wilson's for as many samples as have this variance, and where the seeds add to it, with the quantile of t at
    Satterthwaite's degrees of freedom (as Korn and Graubard 1998 do for surveys). One seed, or seeds that all predict
    the same, give the interval of `accuracy_interval`.
    """
    seeds, n = right.shape
    mean, by_image, by_seed = float(right.mean()), right.mean(axis=0), right.mean(axis=1)
    images = float(by_image.var()) / n
    variance, quantile = images, QUANTILE
    if seeds > 1 and n > 1:
        rest = right - by_image[None, :] - by_seed[:, None] + mean
        noise = float((rest**2).sum()) / ((seeds - 1) * (n - 1) * seeds * n)
        between = float(by_seed.var(ddof=1)) / seeds
        if between > noise:
            variance += between - noise
            squares = images**2 / (n - 1) + between**2 / (seeds - 1) + noise**2 / ((seeds - 1) * (n - 1))
            quantile = float(stdtrit(variance**2 / squares, 1 - TAIL))
    if (right == right[0]).all() or not variance > 0:
        interval = accuracy_interval(round(mean * n), n)
        return SeedGroupAccuracy(mean, interval.low, interval.high)
    return SeedGroupAccuracy(mean, *_wilson(mean, mean * (1 - mean) / variance, quantile))


def _wilson(share: float, n: float, quantile: float) -> tuple[float, float]:
    """Wilson's interval of a share of n independent samples, which need not be a whole number."""
    square = quantile**2 / n
    centre, reach = share + square / 2, float(np.sqrt(square * (share * (1 - share) + square / 4)))
    return max(0.0, (centre - reach) / (1 + square)), min(1.0, (centre + reach) / (1 + square))


def _poisson_low(count: int) -> float:
    """The lower end of a one-sided 90 % interval of the mean of a Poisson count > 0."""
    return float(chdtri(2 * count, LEVEL)) / 2


def _upper_difference(gained: int, lost: int, n: int) -> float:
    """The largest difference that the score test does not reject, by bisection: the score falls with the difference."""
    low, high = (gained - lost) / n, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        if low < middle < high and _difference_score(gained, lost, n, middle) > -QUANTILE:
            low = middle
        else:
            high = middle
    return high


def _difference_score(gained: int, lost: int, n: int, difference: float) -> float:
    """Tango's score of a true difference in (-1, 1): normal with variance 1 if the difference is right."""
    # The likelihood of the counts at this difference is largest where the share `only_before`, of samples that only the
    # first has right, is the larger root of a quadratic equation; for negative ones, with the two exchanged.
    if difference < 0:
        return -_difference_score(lost, gained, n, -difference)
    half = (gained + lost - (2 * n - gained + lost) * difference) / 2
    root = float(np.sqrt(half**2 + 2 * n * lost * difference * (1 - difference)))
    only_before = (half + root) / (2 * n)
    variance = n * (2 * only_before + difference * (1 - difference))
    excess = gained - lost - n * difference
    if variance > 0:
        return excess / float(np.sqrt(variance))
    return 0.0 if excess == 0 else float(np.copysign(np.inf, excess))
