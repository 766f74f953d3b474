"""How often the 90 % interval of a score contains the expected score of a probe of its size.

    python -m tests.metrics.coverage            prints the table of tests/metrics/README.md (ten minutes)

Gaussian classes in 32 dimensions, and a source whose 40 classes are linear in them. The class means are fixed, the
samples are drawn again for every probe. The expected score is the mean over all probes.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli import registry, specs
from zoo_cli.metrics.probe import Probe
from zoo_cli.ranking import uncertainty
from zoo_cli.ranking.replicate_scores import Scorer
from zoo_cli.specs import Method

Array = NDArray[Any]

WIDTH, SOURCE_CLASSES = 32, 40
SPECS = ("parc", "rsa", "cka", "cka:debiased=true", "lfc", "leep")
SHAPES = ((100, 5), (100, 20), (200, 10), (300, 5), (300, 20))
DESIGNS = ("equal", "unequal", "random")


@dataclass(frozen=True)
class Coverage:
    """`share` of the intervals with the expected score inside; `width`: half an interval over 1.645 true deviations."""

    expected: float
    deviation: float
    share: float
    width: float


def coverage(spec: str, design: str, count: int, classes: int, *, probes: int, intervals: int) -> Coverage:
    """Score `probes` probes of `count` samples, the first `intervals` of them with an interval.

    `design` of the class sizes: "equal"; "unequal", falling as 1 / rank, at least 2 and the same in every probe;
    "random", every label drawn uniformly, so that the sizes differ between probes.
    """
    draw = np.random.default_rng([count, classes, DESIGNS.index(design)])
    means = draw.standard_normal((classes, WIDTH))
    reading = 0.6 * draw.standard_normal((WIDTH, SOURCE_CLASSES))
    method = specs.resolve("metric", spec)
    entry = registry.METRICS[method.name]
    score: Callable[[Probe], float] = partial(method.function, **method.params)
    values, estimates = [], []
    for i in range(probes):
        labels = draw.integers(0, classes, count) if design == "random" else _sizes(design, count, classes)
        inputs = 0.8 * means[labels] + draw.standard_normal((count, WIDTH))
        if entry.on[0] == "probs":
            inputs = np.exp(inputs @ reading)
            inputs /= inputs.sum(axis=1, keepdims=True)
        probe = Probe.of(inputs, labels)
        values.append(score(probe))
        if i >= intervals:
            continue
        estimates.append(interval(method, probe, values[-1], seed=i))
    return summarize(values, estimates)


def summarize(values: Sequence[float], estimates: Sequence[uncertainty.Estimate]) -> Coverage:
    """The coverage of the intervals, the expected score being the mean of the values of all probes."""
    expected, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
    low = np.array([estimate.low for estimate in estimates], dtype=np.float64)
    high = np.array([estimate.high for estimate in estimates], dtype=np.float64)
    share = float(((low <= expected) & (expected <= high)).mean())
    return Coverage(expected, deviation, share, float((high - low).mean()) / 2 / uncertainty.QUANTILE / deviation)


def interval(method: Method, probe: Probe, value: float, *, seed: int) -> uncertainty.Estimate:
    """The interval of a score as `uncertainty.estimate_scores` makes it, without the chance level."""
    entry = registry.METRICS[method.name]
    if entry.leave_one_out:
        others = registry.import_target(entry.leave_one_out)(probe, **method.params)
        return uncertainty.jackknife_interval(value, others, seed=seed)
    replicates = uncertainty.draw_replicates(probe.target, seed=seed, permutations=0)
    subsamples = replicates.subsamples_of(entry)
    (scores,) = uncertainty.score_subsamples([Scorer.of(method, entry)], probe, subsamples)
    logarithmic = entry.logarithmic and not method.params.get("log", False)
    return uncertainty.half_sample_interval(value, scores, subsamples.share, seed=seed, logarithmic=logarithmic)


def _sizes(design: str, count: int, classes: int) -> Array:
    if design == "equal":
        return np.arange(count) % classes
    shares = 1 / np.arange(1.0, classes + 1)
    sizes = np.maximum(2, (shares / shares.sum() * count).astype(int))
    sizes[0] += count - sizes.sum()
    return np.repeat(np.arange(classes), sizes)


if __name__ == "__main__":
    print("| metric | N, C | " + " | ".join(DESIGNS) + " |")
    print("|---|---|" + "---|" * len(DESIGNS))
    for name in sys.argv[1:] or SPECS:
        for shape in SHAPES:
            cells = [coverage(name, design, *shape, probes=600, intervals=200) for design in DESIGNS]
            columns = " | ".join(f"{100 * cell.share:.0f} % ({cell.width:.2f})" for cell in cells)
            print(f"| {name} | {shape[0]}, {shape[1]} | {columns} |", flush=True)
