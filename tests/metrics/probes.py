"""Made-up probe sets: Gaussian classes, and a source's probabilities for the same samples."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli import registry
from zoo_cli.metrics.probe import Probe

Array = NDArray[Any]


def score(spec: str, inputs: Array, labels: Array, **params: Any) -> float:
    """A metric of the table, of inputs (N, D) and labels (N,)."""
    method = registry.resolve("metric", spec)
    value: float = method.function(Probe.of(inputs, labels), **{**method.params, **params})
    return value


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
