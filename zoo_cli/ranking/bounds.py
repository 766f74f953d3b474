"""Bounds on the gaps of several scores to a reference, and how fast they narrow with more labels."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[Any]

CONFIDENCE = 0.95
MOST_LABELS = 10_000
RATES = 0.5, 1.0
"""The exponents by which a bound can fall with the number of labels: that of a mean, and that of a mean over pairs."""


@dataclass(frozen=True, eq=False)
class Gaps:
    """Gaps of S scores to a reference and their one-sided 95 % bounds, each of which holds for all at once.

    `value` (S,); the true gaps are above `value - below` and under `value + above`, both (S,) and at least 0. `rate`
    (S,): the exponent e in [0.5, 1] by which the bounds fall from half the probe to the whole, by 2^e.
    """

    value: Array
    below: Array
    above: Array
    rate: Array


def bound_gaps(value: Array, deviations: Array, half_errors: Array, freedom: float = np.inf) -> Gaps:
    """Bounds from deviations (S, B) of paired replicates: the spread of each gap times a quantile of the largest.

    The quantile is that of the largest studentised deviation over the S gaps (max-t), so that correlated gaps cost
    little; it is widened from the normal to Student's distribution with `freedom` degrees, those of the spread.
    `half_errors` (S,): the standard errors of the gaps on half the probe.
    """
    spread = deviations.std(axis=1)
    spread = np.where(spread > 0, spread, np.finfo(np.float64).tiny)
    studentised = deviations / spread[:, None]
    over, under = (
        _widen(float(np.quantile((sign * studentised).max(axis=0), CONFIDENCE)), freedom) for sign in (1, -1)
    )
    rate = np.clip(np.log2(np.maximum(half_errors, spread) / spread), *RATES)
    return Gaps(value, over * spread, under * spread, rate)


def labels_to_tell(size: int, gap: Array, bound: Array, rate: Array) -> Array:
    """About how many labels bring bounds (S,) below gaps (S,), given those of `size` labels; infinite for gaps <= 0."""
    with np.errstate(over="ignore"):
        ratio = np.divide(bound, gap, out=np.full(len(gap), np.inf), where=gap > 0)
        return np.asarray(size * ratio ** (1 / rate))


def round_labels(count: float) -> int | None:
    """A number of labels rounded up to one digit, at most 10,000; None if it is infinite."""
    if not math.isfinite(count):
        return None
    digit = int(10.0 ** math.floor(math.log10(max(count, 1))))
    return min(math.ceil(count / digit - 1e-9) * digit, MOST_LABELS)


def _widen(quantile: float, freedom: float) -> float:
    """The quantile of Student's distribution that has the probability of this one of the normal distribution."""
    if not math.isfinite(freedom):
        return quantile
    return float(special.stdtrit(max(freedom, 1.0), special.ndtr(quantile)))


def within_classes(leave_one_out: Array, codes: Array, counts: Array) -> float | None:
    """The jackknife variance of a score within classes, from its values without each sample, leave_one_out (N,).

    `codes` (N,): the classes; `counts` (C,): their sizes. Where these are equal to within one, the labels were drawn by
    class, and what the classes have in common does not vary between draws. None for others, or fewer than three.
    """
    if counts.min() < 3 or np.ptp(counts) > 1:
        return None
    means = np.bincount(codes, leave_one_out) / counts
    squares = np.bincount(codes, (leave_one_out - means[codes]) ** 2)
    return float((squares * counts / (counts - 1)).sum() * (1 - 1 / len(codes)))


def standard_errors(variance: float, pair_variance: float) -> tuple[float, float]:
    """The standard errors of a score on its probe and on half of it, from the variance that its interval has.

    A variance has a part that falls with the number of samples and one, of their pairs, that falls with its square
    (Hoeffding 1948). The interval counts the second, `pair_variance`, twice; 0 if it is not known.
    """
    linear = max(variance - 2 * pair_variance, 0.0)
    return float(np.sqrt(linear + pair_variance)), float(np.sqrt(2 * linear + 4 * pair_variance))
