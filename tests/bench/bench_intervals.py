"""What intervals and chance levels cost on top of the value, for each metric and for the default ones together.

    python -m tests.bench.bench_intervals [NAME[:key=value] ...]    prints one JSON object; metrics, or "default"
    pytest -m bench tests/bench/bench_intervals.py      asserts the ratios

n = 1,000, d = 512, K = 1,000, C = 100. One BLAS thread; the value alone and with both, in turns in one process,
in processor time; medians of a new probe each, with replicates that all of them share, as the sources of a run do.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.bench.bench_scores import run_child

LIMITS = {
    **dict.fromkeys(("lfc", "cka", "parc"), 5.0),
    **dict.fromkeys(("rsa", "leep", "nce", "knn", "transrate", "hscore", "sparsity"), 15.0),
    **dict.fromkeys(("logme", "ridge", "gbc", "sfda"), 15.0),
    "default": 8.0,
}
ROUNDS = 3


@pytest.mark.bench
@pytest.mark.parametrize("name", sorted(LIMITS))
def test_intervals_cost_a_few_values(name: str) -> None:
    assert run_child("tests.bench.bench_intervals", name)[name]["ratio"] <= LIMITS[name]


def measure(names: list[str], count: int = 1000, width: int = 512, classes: int = 100) -> dict[str, Any]:
    """Milliseconds of the value alone and with its interval and chance level, and their ratio, for each name."""
    import numpy as np

    from zoo_cli import registry, specs
    from zoo_cli.metrics.labels import Classes
    from zoo_cli.metrics.probe import Probe
    from zoo_cli.ranking import uncertainty

    draw = np.random.default_rng(0)
    labels = draw.permutation(np.arange(count) % classes)
    means = 0.5 * draw.standard_normal((classes, width), dtype=np.float32)
    features = np.maximum(means[labels] + draw.standard_normal((count, width), dtype=np.float32), 0)
    logits = draw.standard_normal((count, 1000), dtype=np.float32)
    logits[np.arange(count), labels] += 3
    raised = np.exp(logits)
    arrays = {"features": features, "probs": raised / raised.sum(axis=1, keepdims=True)}
    target = Classes.of(labels)
    replicates = uncertainty.draw_replicates(target, seed=0)
    default = [name for name, entry in registry.METRICS.items() if entry.cheap and not entry.needs]
    results: dict[str, Any] = {}
    for name in names:
        group = default if name == "default" else [name]
        methods: dict[str, list[Any]] = {}
        for each in group:
            method = specs.resolve("metric", each)
            entry = registry.METRICS[method.name]
            methods.setdefault(entry.on[0], []).append((method, entry))

        def score_values(methods: dict[str, list[Any]] = methods) -> None:
            for on, pairs in methods.items():
                probe = Probe.of(arrays[on], target)
                for method, _ in pairs:
                    method.function(probe, **method.params)

        def score_intervals(methods: dict[str, list[Any]] = methods) -> None:
            for on, pairs in methods.items():
                uncertainty.estimate_scores(pairs, Probe.of(arrays[on], target), seed=0, replicates=replicates)

        results[name] = _compare(score_values, score_intervals)
    return results


def _compare(value: Callable[[], None], intervals: Callable[[], None]) -> dict[str, float]:
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(ROUNDS + 1):  # the first one warms up
        for form, seconds in zip((value, intervals), times, strict=True):
            start = time.process_time()
            form()
            if turn:
                seconds.append(time.process_time() - start)
    alone, both = (statistics.median(seconds) * 1e3 for seconds in times)
    return {"value": round(alone, 2), "with intervals": round(both, 2), "ratio": round(both / alone, 1)}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1:] or list(LIMITS)), indent=1))
