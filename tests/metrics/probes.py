"""Made-up probe sets: Gaussian classes, and a source's probabilities for the same samples."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli import registry, specs
from zoo_cli.metrics.probe import Probe

Array = NDArray[Any]


def score(spec: str, inputs: Array, labels: Array, **params: Any) -> float:
    """A metric of the table, of inputs (N, D) and labels (N,)."""
    method = specs.resolve("metric", spec)
    probe = Probe.of(inputs, labels, **further(registry.METRICS[method.name].needs, inputs))
    value: float = method.function(probe, **{**method.params, **params})
    return value


def further(needs: Sequence[str], inputs: Array) -> dict[str, Any]:
    """The arrays that a metric needs besides, made of the inputs so that they go along with the order of samples."""
    if inputs.ndim != 2 or inputs.dtype.kind != "f" or not np.isfinite(inputs).all():
        return {}
    made: dict[str, Any] = {
        "reference": reference(inputs),
        "source_means": np.random.default_rng(3).standard_normal((5, inputs.shape[1])),
        "source_counts": np.array([40, 10, 0, 25, 5]),
        "gradients_sum": inputs,
        "projected_gradients": (),
    }
    return {need: made[need] for need in needs}


def reference(inputs: Array) -> Array:
    """Features (N, 6) of another network for the same samples: bent directions of theirs, whatever their scale."""
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
    """Probabilities (N, width) float32 of a source whose classes 0, 1, … lean to the target's."""
    draw = np.random.default_rng(seed)
    logits = draw.standard_normal((len(labels), width))
    logits[np.arange(len(labels)), labels % width] += apart
    raised = np.exp(logits)
    return (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)


def one_hot(labels: Array) -> Array:
    """Features that are the labels themselves: (N, C)."""
    return np.eye(labels.max() + 1, dtype=np.float32)[labels]
