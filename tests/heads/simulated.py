"""Simulated sources and labels for tests of heads."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli import specs
from zoo_cli.heads.fitting import fit_heads, pool_heads
from zoo_cli.heads.linear_head import Head
from zoo_cli.heads.pooled import Pool
from zoo_cli.heads.standardise import Features
from zoo_cli.heads.target_labels import TargetLabels

Array = NDArray[Any]


def embedding(truth: Array, width: int, *, signal: float = 1.0, seed: int = 0, kind: type = np.float64) -> Array:
    """Features (N, width) around a centre for each class, whose distances do not depend on the width."""
    draw = np.random.default_rng([seed, width])
    centres = draw.normal(size=(int(truth.max()) + 1, width)) / np.sqrt(width)
    noise = draw.normal(size=(len(truth), width)) / np.sqrt(width)
    scale = draw.uniform(0.3, 3.0, width)
    return ((3 * signal * centres[truth] + noise * np.sqrt(width) / 2 + 1) * scale).astype(kind)


def classes_of(count: int, classes: int, *, seed: int = 0) -> Array:
    """The true classes (count,), of unequal sizes."""
    shares = np.arange(2, classes + 2) / np.arange(2, classes + 2).sum()
    return np.random.default_rng([seed, 9]).choice(classes, size=count, p=shares)


def label(truth: Array, counts: Sequence[int], *, seed: int = 0) -> Array:
    """Labels (N,): counts[c] images of class c have theirs, the others -1."""
    draw = np.random.default_rng([seed, 5])
    labels = np.full(len(truth), -1)
    for number, count in enumerate(counts):
        rows = draw.permutation(np.flatnonzero(truth == number))[:count]
        assert len(rows) == count
        labels[rows] = number
    return labels


def fit(spec: str, values: Array, labels: Array, classes: int) -> Head:
    """One head by its spec."""
    (head,) = fit_heads(specs.resolve("head", spec), [Features.of(values)], TargetLabels.of(labels, classes))
    return head


def pool(
    spec: str,
    arrays: Sequence[Array],
    labels: Array,
    classes: int,
    *,
    weights: Array | None = None,
    head: str = "ridge",
) -> Pool:
    """The pool of a head on each array, by their specs."""
    sources = [Features.of(values) for values in arrays]
    targets = TargetLabels.of(labels, classes)
    heads = fit_heads(specs.resolve("head", head), sources, targets)
    return pool_heads(specs.resolve("pool", spec), sources, heads, targets, weights=weights)
