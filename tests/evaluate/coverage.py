"""How often the 90 % intervals of `accuracy_intervals` hold the true accuracy, or the true difference of accuracies.

    python -m tests.evaluate.coverage            prints the tables of tests/evaluate/README.md

Of one run and of two runs on the same images the coverage is exact: the sum of the probabilities of all counts whose
interval holds the truth. Of several seeds it is simulated.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from zoo_cli.evaluation import accuracy_intervals as intervals

Array = NDArray[np.float64]
Single = Callable[[int, int], tuple[float, float]]
Paired = Callable[[int, int, int], tuple[float, float]]

SIZES = (10, 50, 200, 600)
PAIRED_SIZES = (20, 50, 100, 200)
CHANGED = (0.02, 0.1, 0.3, 0.6)
"""Shares of images on which two runs differ."""
SPREADS = (0.0, 0.2, 0.5)
"""Standard deviations of the seeds on the scale of logits."""
Z = float(stats.norm.ppf(0.95))


@dataclass(frozen=True)
class Coverage:
    """The lowest and the mean coverage over many truths, and the mean width of the intervals there."""

    lowest: float
    mean: float
    width: float


def accuracy_interval(right: int, n: int) -> tuple[float, float]:
    interval = intervals.accuracy_interval(right, n)
    return interval.low, interval.high


def wilson(right: int, n: int) -> tuple[float, float]:
    interval = stats.binomtest(right, n).proportion_ci(0.9, "wilson")
    return interval.low, interval.high


def clopper_pearson(right: int, n: int) -> tuple[float, float]:
    interval = stats.binomtest(right, n).proportion_ci(0.9, "exact")
    return interval.low, interval.high


def difference_interval(gained: int, lost: int, n: int) -> tuple[float, float]:
    interval = intervals.difference_interval(gained, lost, n)
    return interval.low, interval.high


def wald(gained: int, lost: int, n: int) -> tuple[float, float]:
    """The difference and its standard error: what a large bootstrap over images gives."""
    difference = (gained - lost) / n
    reach = Z * np.sqrt(max(0.0, (gained + lost) / n - difference**2) / n)
    return difference - reach, difference + reach


def bonett_price(gained: int, lost: int, n: int) -> tuple[float, float]:
    """Wald's with one more image gained and one more lost (Bonett and Price 2012)."""
    return wald(gained + 1, lost + 1, n + 2)


SINGLE: dict[str, Single] = {
    "modified Wilson": accuracy_interval,
    "Wilson": wilson,
    "Clopper-Pearson": clopper_pearson,
}
PAIRED: dict[str, Paired] = {"Tango": difference_interval, "Bonett-Price": bonett_price, "Wald": wald}


def single_coverage(interval: Single, n: int, truths: Array) -> Coverage:
    """Of an accuracy, over true accuracies (T,)."""
    low, high = np.array([interval(right, n) for right in range(n + 1)]).T
    chances = stats.binom.pmf(np.arange(n + 1)[None, :], n, truths[:, None])
    holds = (low[None, :] <= truths[:, None]) & (truths[:, None] <= high[None, :])
    return _summarize((chances * holds).sum(axis=1), (chances * (high - low)).sum(axis=1))


def paired_coverage(interval: Paired, n: int, changed: float, differences: Array) -> Coverage:
    """Of a difference, over true differences (T,) of two runs that differ on a share `changed` of the images."""
    likely = int(stats.binom.ppf(1 - 1e-9, n, changed))
    counts = np.array([(a, b) for a in range(likely + 1) for b in range(likely + 1 - a)])
    ends = np.array([interval(int(a), int(b), n) for a, b in counts])
    rates, widths = [], []
    for difference in differences:
        shares = [(changed + difference) / 2, (changed - difference) / 2, 1 - changed]
        table = np.column_stack([counts, n - counts.sum(axis=1)])
        chances = stats.multinomial.pmf(table, n, shares)
        rates.append(chances[(ends[:, 0] <= difference) & (difference <= ends[:, 1])].sum())
        widths.append((chances * (ends[:, 1] - ends[:, 0])).sum())
    return _summarize(np.array(rates), np.array(widths))


def seed_coverage(seeds: int, n: int, spread: float, *, accuracy: float, trials: int, seed: int = 0) -> Coverage:
    """Of the mean accuracy over seeds, each of which adds its own normal offset (deviation `spread`, in logits) to the
    difficulties of the images, by simulation. There is one truth: `lowest` is the mean."""
    random = np.random.default_rng(seed)
    easy = optimize.brentq(lambda logit: _expected_accuracy(logit, spread) - accuracy, -20, 20)
    rates, widths = [], []
    for _ in range(trials):
        images, offsets = 2 * random.standard_normal(n), spread * random.standard_normal((seeds, 1))
        right = random.logistic(size=(seeds, n)) < easy + images[None, :] + offsets
        group = intervals.seed_group_interval(right)
        rates.append(group.low <= accuracy <= group.high)
        widths.append(group.high - group.low)
    share = float(np.mean(rates))
    return Coverage(share, share, float(np.mean(widths)))


def _expected_accuracy(easy: float, spread: float) -> float:
    points, weights = np.polynomial.hermite_e.hermegauss(80)
    deviation = np.sqrt(4 + spread**2)
    return float((weights * stats.logistic.cdf(easy + deviation * points)).sum() / weights.sum())


def _summarize(rates: Array, widths: Array) -> Coverage:
    return Coverage(float(rates.min()), float(rates.mean()), float(widths.mean()))


def true_accuracies(n: int) -> Iterator[tuple[str, Array]]:
    """From the middle to 0.99, and from a fiftieth of an image wrong on average to ten."""
    yield "0.5 to 0.99", np.linspace(0.5, 0.99, 491)
    yield "near 1", 1 - np.geomspace(0.02, min(10, n / 4), 400) / n


def true_differences(changed: float) -> Array:
    return np.linspace(-0.98, 0.98, 29) * changed


def _rows() -> Iterator[Sequence[str]]:
    yield "images", "accuracies", *SINGLE
    for n in SIZES:
        for name, truths in true_accuracies(n):
            yield str(n), name, *(_cell(single_coverage(interval, n, truths)) for interval in SINGLE.values())
    yield ()
    yield "images", "changed", *PAIRED
    for n in PAIRED_SIZES:
        for changed in CHANGED:
            cells = (paired_coverage(interval, n, changed, true_differences(changed)) for interval in PAIRED.values())
            yield str(n), f"{changed:.0%}", *map(_cell, cells)
    yield ()
    yield "seeds", *(f"spread {spread}" for spread in SPREADS)
    for seeds in (2, 3, 5):
        results = [seed_coverage(seeds, 600, spread, accuracy=0.85, trials=2000) for spread in SPREADS]
        yield str(seeds), *(f"{100 * result.mean:.1f}, {100 * result.width:.1f}" for result in results)


def _cell(result: Coverage) -> str:
    return f"{100 * result.mean:.1f} ({100 * result.lowest:.1f}), {100 * result.width:.1f}"


if __name__ == "__main__":
    for row in _rows():
        print("| " + " | ".join(row) + " |" if row else "", flush=True)
