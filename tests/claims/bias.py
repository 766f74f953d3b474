"""How each score depends on the size of the probe: its mean at n minus its mean on a probe of 3,200.

    OMP_NUM_THREADS=1 python -m tests.claims.bias

One simulated source: 32 features, 10 balanced classes whose centres lie 0.3 standard deviations apart in each feature;
its 20 class probabilities are a softmax of a fixed linear map of the features, its "gradients" a fixed map of squashed
features, the features of the reference network its own with noise, its classes 20 fixed means. A score with an upward
bias on small probes (most have one) compares sources on one probe set, never across probe sets of different sizes.
"""

import argparse
import json

import numpy as np

from zoo_cli import registry, specs
from zoo_cli.errors import Undefined
from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.probe import Probe

WIDTH, CLASSES, OUTPUTS, EFFECT, LARGE = 32, 10, 20, 0.3, 3200
SIZES = (50, 100, 200, 400, 800)
GRADIENT = np.random.default_rng(3).standard_normal((WIDTH, 200))
MEANS = np.random.default_rng(4).standard_normal((OUTPUTS, WIDTH)) + 0.5


def simulate_source(seed: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (N, 32), probabilities (N, 20) and labels (N,) of one draw of the probe set."""
    shared, rng = np.random.default_rng(0), np.random.default_rng([1, seed, size])
    centres, head = shared.standard_normal((CLASSES, WIDTH)), shared.standard_normal((WIDTH, OUTPUTS)) * 0.3
    labels = np.arange(size) % CLASSES
    features = np.maximum(rng.standard_normal((size, WIDTH)) + EFFECT * centres[labels] + 0.5, 0)
    logits = features @ head
    probs = np.exp(logits - logits.max(axis=1, keepdims=True))
    return features, probs / probs.sum(axis=1, keepdims=True), labels


def measure_score(metric: str, size: int, trials: int) -> tuple[float, float]:
    """Mean and standard deviation of a score over draws of the probe set."""
    method, entry = specs.resolve("metric", metric), registry.METRICS[metric]
    values = []
    for seed in range(trials):
        features, probs, labels = simulate_source(seed, size)
        inputs = {"features": features, "probs": probs, "gradients": np.tanh(features) @ GRADIENT}[entry.on[0]]
        further = {
            "reference": features + np.random.default_rng([2, seed, size]).standard_normal(features.shape),
            "source_means": MEANS,
            "source_counts": np.arange(100, 100 + OUTPUTS),
        }
        needed = {key: value for key, value in further.items() if key in entry.needs}
        probe = Probe.of(inputs, Classes.of(labels), name="simulated", **needed)
        try:
            values.append(method.function(probe, **method.params))
        except Undefined:
            continue
    return (float(np.mean(values)), float(np.std(values))) if values else (float("nan"), float("nan"))


def measure_scores(trials: int, metrics: list[str]) -> dict[str, dict[str, float]]:
    """For each metric: its mean on a large probe, its bias at each smaller size, and its spread at 200."""
    rows = {}
    for name in metrics:
        large, _ = measure_score(name, LARGE, max(2, trials // 8))
        row = {f"at {LARGE}": large}
        for size in SIZES:
            mean, spread = measure_score(name, size, trials)
            row[f"bias at {size}"] = mean - large
            if size == 200:
                row["sd at 200"] = spread
        rows[name] = row
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--metric", action="append")
    arguments = parser.parse_args()
    rows = measure_scores(arguments.trials, arguments.metric or list(registry.METRICS))
    keys = list(next(iter(rows.values())))
    print("| metric | " + " | ".join(keys) + " |\n|---|" + "---:|" * len(keys))
    for name, row in rows.items():
        print(f"| {name} | " + " | ".join(f"{row[key]:.3f}" for key in keys) + " |")
    print(json.dumps({"trials": arguments.trials}))


if __name__ == "__main__":
    main()
