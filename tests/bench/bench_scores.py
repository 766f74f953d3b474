"""How much faster each score is than its published form, alone and all of them in one call.

    python -m tests.bench.bench_scores [NAME ...]       prints one JSON object; names as in FORMS, or "all"
    python -m tests.bench.bench_scores zoo [SOURCES]    seconds for a zoo: the quick scores with their intervals
    pytest -m bench tests/bench/bench_scores.py         asserts the ratios

n = 5,000, d = 2,048, K = 1,000, C = 100. One BLAS thread; both forms are timed in turns in one process, in processor
time; medians.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.bench.published_forms import FORMS

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
ROOT = Path(__file__).resolve().parents[2]
SOURCE_CLASSES = 1000
RATIO = {
    "parc": 6.0,
    "logme": 2.5,
    "hscore": 6.0,
    "hscore:shrunk=true": 15.0,
    "transrate": 20.0,
    "sfda": 6.0,
    "cka": 5.0,
    "knn:k=1": 1.5,
    "leep": 1.0,
}
ALL = 10.0
MINUTES = 3.0  # for a zoo of 1,000 sources on two cores


@pytest.mark.bench
@pytest.mark.parametrize("spec", sorted(RATIO))
def test_score_is_faster_than_its_published_form(spec: str) -> None:
    result = _child(spec)[spec]
    assert abs(result["difference"]) < 3e-6 * max(1.0, abs(result["value"]))
    assert result["ratio"] >= RATIO[spec]


@pytest.mark.bench
def test_all_scores_in_one_call_are_ten_times_faster() -> None:
    assert _child("all")["all"]["ratio"] >= ALL


@pytest.mark.bench
def test_a_thousand_sources_take_minutes() -> None:
    result = _child("zoo", "40")["zoo"]
    assert result["seconds_per_source"] * 1000 / 2 <= 60 * MINUTES


def measure(names: list[str], count: int = 5000, rounds: int = 3) -> dict[str, Any]:
    """Seconds of both forms, their ratio and the difference of their values, for each name."""
    features, labels = probe(count)
    arrays = {"features": features, "probs": _probabilities(labels)}
    together = "all" in names
    results: dict[str, Any] = {}
    sums = {"published": 0.0, "zoo": 0.0}
    for name in FORMS if together else names:
        inputs = arrays["probs" if name == "leep" else "features"]
        times: dict[str, list[float]] = {"published": [], "zoo": []}
        value, other = 0.0, 0.0
        for turn in range(rounds):
            # The published forms take many seconds and vary little: one turn fewer.
            if turn < max(1, rounds - 1):
                other = _timed(lambda form=FORMS[name], x=inputs: form(x, labels), times["published"])
            value = _timed(lambda spec=name, x=inputs: _scores([spec], x, labels)[0], times["zoo"])
        medians = {kind: statistics.median(seconds) for kind, seconds in times.items()}
        sums = {kind: sums[kind] + medians[kind] for kind in sums}
        results[name] = _summarize(medians) | {"value": value, "difference": value - other}
    if together:
        seconds: list[float] = []
        on_features = [name for name in FORMS if name != "leep"]
        for _ in range(rounds):
            start = time.process_time()
            _scores(on_features, features, labels)
            _scores(["leep"], arrays["probs"], labels)
            seconds.append(time.process_time() - start)
        results["one by one"] = _summarize(sums)
        results["all"] = _summarize({"published": sums["published"], "zoo": statistics.median(seconds)})
    return results


def probe(count: int, width: int = 2048, classes: int = 100) -> tuple[Any, Any]:
    """Features (N, 2048) float32 after a ReLU, of balanced classes that overlap, and labels (N,)."""
    import numpy as np

    draw = np.random.default_rng(7)
    labels = np.arange(count) % classes
    features = draw.standard_normal((count, width), dtype=np.float32)
    features += 0.15 * draw.standard_normal((classes, width), dtype=np.float32)[labels]
    return np.maximum(features, 0), labels


def zoo(sources: int, count: int = 500, width: int = 512, classes: int = 20) -> dict[str, Any]:
    """Processor seconds per source for the quick scores of the papers, with intervals and chance levels."""
    import numpy as np

    from zoo_cli import registry, specs
    from zoo_cli.metrics.labels import Classes
    from zoo_cli.metrics.probe import Probe
    from zoo_cli.ranking import uncertainty

    draw = np.random.default_rng(0)
    labels = np.sort(draw.integers(0, classes, count))
    target = Classes.of(labels)
    cheap = [name for name, entry in registry.METRICS.items() if entry.cheap and not entry.needs]
    methods = {
        on: [
            (specs.resolve("metric", name), registry.METRICS[name])
            for name in cheap
            if registry.METRICS[name].on[0] == on
        ]
        for on in ("features", "probs")
    }
    probs = _probabilities(labels)
    start = time.process_time()
    wall = time.perf_counter()
    replicates = uncertainty.draw_replicates(target, seed=0)
    for _ in range(sources):
        means = 0.5 * draw.standard_normal((classes, width), dtype=np.float32)
        features = np.maximum(means[labels] + draw.standard_normal((count, width), dtype=np.float32), 0)
        uncertainty.estimate_scores(methods["features"], Probe.of(features, target), seed=0, replicates=replicates)
        uncertainty.estimate_scores(methods["probs"], Probe.of(probs, target), seed=0, replicates=replicates)
    spent = time.process_time() - start
    return {
        "sources": sources,
        "metrics": cheap,
        "seconds_per_source": round(spent / sources, 4),
        "wall_per_source": round((time.perf_counter() - wall) / sources, 4),
    }


def _scores(names: list[str], inputs: Any, labels: Any) -> list[float]:
    from zoo_cli import specs
    from zoo_cli.metrics.probe import Probe

    probe = Probe.of(inputs, labels)
    methods = [specs.resolve("metric", name) for name in names]
    return [method.function(probe, **method.params) for method in methods]


def _probabilities(labels: Any) -> Any:
    import numpy as np

    draw = np.random.default_rng(1)
    logits = draw.standard_normal((len(labels), SOURCE_CLASSES), dtype=np.float32)
    logits[np.arange(len(labels)), labels] += 3
    raised = np.exp(logits)
    return raised / raised.sum(axis=1, keepdims=True)


def _timed(form: Callable[[], float], times: list[float]) -> float:
    start = time.process_time()
    value = form()
    times.append(time.process_time() - start)
    return value


def _summarize(seconds: Mapping[str, float]) -> dict[str, Any]:
    return {
        "seconds": {kind: round(value, 4) for kind, value in seconds.items()},
        "ratio": round(seconds["published"] / seconds["zoo"], 2),
    }


def _child(*arguments: str) -> dict[str, Any]:
    return run_child("tests.bench.bench_scores", *arguments)


def run_child(module: str, *arguments: str) -> dict[str, Any]:
    """What a bench prints in a fresh process with one thread."""
    # A fresh process: numpy reads the number of threads at import.
    environment = os.environ | THREADS | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", module, *arguments]
    result = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    measured: dict[str, Any] = json.loads(result.stdout)
    return measured


if __name__ == "__main__":
    names = sys.argv[1:]
    if names[:1] == ["zoo"]:
        print(json.dumps({"zoo": zoo(int((names[1:] or ["40"])[0]))}))
    else:
        print(json.dumps(measure(names or ["all"]), indent=1))
