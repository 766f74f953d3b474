"""As `coverage`, for scores that read a reference, the source's class means, or no labels.

    python -m tests.metrics.coverage_further    prints the second table of tests/metrics/README.md (five minutes)

The reference network has class means of its own and a part of the source's features. Features are rectified for
sparsity. The means of the source's 30 classes are unrelated to the target.
"""

import sys
from functools import partial

import numpy as np

from zoo_cli import specs
from zoo_cli.metrics.probe import Probe

from .coverage import WIDTH, Coverage, interval, summarize

SPECS = ("rsa-ref", "domain-similarity:gamma=0.1", "sparsity", "sparsity:hoyer=0.5", "nleep:seeds=2")
SHAPES = ((100, 5), (100, 20), (300, 5), (300, 20))
DESIGNS = ("equal", "random")


def coverage(spec: str, design: str, count: int, classes: int, *, probes: int, intervals: int) -> Coverage:
    """As `coverage.coverage`."""
    draw = np.random.default_rng([count, classes])
    means, others = draw.standard_normal((classes, WIDTH)), draw.standard_normal((classes, 16))
    mix = 0.3 * draw.standard_normal((WIDTH, 16))
    source = {"source_means": draw.standard_normal((30, WIDTH)), "source_counts": draw.integers(5, 100, 30)}
    method = specs.resolve("metric", spec)
    score = partial(method.function, **method.params)
    values, estimates = [], []
    for i in range(probes):
        labels = np.arange(count) % classes if design == "equal" else draw.integers(0, classes, count)
        inputs = 0.8 * means[labels] + draw.standard_normal((count, WIDTH))
        reference = others[labels] + inputs @ mix + draw.standard_normal((count, 16))
        rectified = np.maximum(inputs, 0) if method.name == "sparsity" else inputs
        probe = Probe.of(rectified, labels, reference=reference, **source)
        values.append(score(probe))
        if i >= intervals:
            continue
        estimates.append(interval(method, probe, values[-1], seed=i))
    return summarize(values, estimates)


if __name__ == "__main__":
    print("| metric | N, C | " + " | ".join(DESIGNS) + " |")
    print("|---|---|" + "---|" * len(DESIGNS))
    for name in sys.argv[1:] or SPECS:
        for shape in SHAPES:
            few = 2 if name.startswith("nleep") else 1
            cells = [coverage(name, design, *shape, probes=300 // few, intervals=150 // few**2) for design in DESIGNS]
            columns = " | ".join(f"{100 * cell.share:.0f} % ({cell.width:.2f})" for cell in cells)
            print(f"| {name} | {shape[0]}, {shape[1]} | {columns} |", flush=True)
