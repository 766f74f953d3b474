"""Bounds on the gaps of several scores to a reference, and how fast they narrow with more labels."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def bound_gaps(value: Array, deviations: Array, half_errors: Array) -> Gaps:
    """Bounds from deviations (S, B) of paired replicates: the spread of each gap times a quantile of the largest.

    The quantile is that of the largest studentised deviation over the S gaps (max-t), so that correlated gaps cost
    little. `half_errors` (S,): the standard errors of the gaps on half the probe.
    """
    spread = deviations.std(axis=1)
    spread = np.where(spread > 0, spread, np.finfo(np.float64).tiny)
    studentised = deviations / spread[:, None]
    over, under = (np.quantile((sign * studentised).max(axis=0), CONFIDENCE) for sign in (1, -1))
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


def standard_errors(variance: float, pair_variance: float) -> tuple[float, float]:
    """The standard errors of a score on its probe and on half of it, from the variance that its interval has.

    A variance has a part that falls with the number of samples and one, of their pairs, that falls with its square
    (Hoeffding 1948). The interval counts the second, `pair_variance`, twice; 0 if it is not known.
    """
    linear = max(variance - 2 * pair_variance, 0.0)
    return float(np.sqrt(linear + pair_variance)), float(np.sqrt(2 * linear + 4 * pair_variance))
