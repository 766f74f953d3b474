"""Artificial probe sets: Gaussian classes, and a source's probabilities for the same samples."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from zoo_cli import registry, specs
from zoo_cli.metrics.plain_metrics import accept_probe
from zoo_cli.metrics.probe import Probe

Array = NDArray[Any]


def score(spec: str, inputs: Array, labels: Array, **params: Any) -> float:
    """The score of a metric of the table for inputs (N, D) and labels (N,)."""
    method = specs.resolve("metric", spec)
    probe = Probe.of(inputs, labels, **further(registry.METRICS[method.name].needs, inputs))
    value: float = accept_probe(method.function)(probe, **{**method.params, **params})
    return value


def further(needs: Sequence[str], inputs: Array) -> dict[str, Any]:
    """The further arrays that a metric needs, computed from the inputs so that they follow the order of the samples."""
    if inputs.ndim != 2 or inputs.dtype.kind != "f" or not np.isfinite(inputs).all():
        return {}
    arrays: dict[str, Any] = {
        "reference": reference(inputs),
        "source_means": np.random.default_rng(3).standard_normal((5, inputs.shape[1])),
        "source_counts": np.array([40, 10, 0, 25, 5]),
        "gradients_sum": inputs,
        "projected_gradients": (),
    }
    return {need: arrays[need] for need in needs}


def reference(inputs: Array) -> Array:
    """Features (N, 6) of another network for the same samples: rectified projections, independent of their scale."""
    mix = np.random.default_rng(4).standard_normal((inputs.shape[1], 6))
    wide = inputs.astype(np.float64)
    return np.asarray(np.maximum(wide @ mix / np.abs(wide).max(), -0.1))


def features(sizes: Sequence[int], width: int, *, apart: float = 1.0, seed: int = 0) -> tuple[Array, Array]:
    """Features (N, width) float32 and labels (N,), shuffled: class c has sizes[c] samples around a mean of its own."""
    draw = np.random.default_rng(seed)
    labels = draw.permutation(np.repeat(np.arange(len(sizes)), sizes))
    means = apart * draw.standard_normal((len(sizes), width))
    return (means[labels] + draw.standard_normal((len(labels), width))).astype(np.float32), labels


def probabilities(labels: Array, width: int, *, apart: float = 2.0, seed: int = 0) -> Array:
    """Probabilities (N, width) float32 of a source whose classes 0, 1, … tend to be those of the target."""
    draw = np.random.default_rng(seed)
    logits = draw.standard_normal((len(labels), width))
    logits[np.arange(len(labels)), labels % width] += apart
    return np.asarray(softmax(logits, axis=1), np.float32)


def one_hot(labels: Array) -> Array:
    """The one-hot labels as features (N, C)."""
    return np.eye(labels.max() + 1, dtype=np.float32)[labels]
