"""PARC split by class: which classes a source separates from the others."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.metrics.counted_pairs import LEVELS, CountedPairs, below_levels
from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.pairs import unit_rows

Array = NDArray[Any]

KEPT = 1 << 22  # products of a class that are kept in memory


def class_auc(inputs: Array, labels: Array) -> Array:
    """For each class, how often one of its pairs is nearer than a pair with another class: (C,), labels ascending.

    inputs (N, D): features or probabilities; labels (N,): integers. Distances are those of PARC. In [0, 1], higher is
    better, 0.5 is chance, ties count half; NaN for a class of one sample. Normalised PARC is 2 AUC - 1 over all pairs
    at once (metrics.parc); the split by class is ours.
    """
    target = Classes.of(labels)
    rows = unit_rows(inputs).astype(np.float64)
    auc = np.full(len(target.counts), np.nan)
    for c, count in enumerate(target.counts):
        if count < 2:
            continue
        pairs, couples = count * (count - 1) // 2, count * (len(rows) - count)
        below = _sort(rows, target.codes == c) if count * len(rows) <= KEPT else _count(rows, target.members[c])
        auc[c] = below / (pairs * couples)
    return auc


def _sort(rows: Array, members: Array) -> float:
    """How many couples of a pair within a class and a pair with another class have the first nearer, ties counting
    half. members (N,): of the class or not."""
    products = rows[members] @ rows.T
    near = products[:, members][np.triu_indices(len(products), 1)]
    far = np.sort(products[:, ~members].ravel())
    return float((np.searchsorted(far, near - 1e-12) + np.searchsorted(far, near + 1e-12)).sum()) / 2


def _count(rows: Array, members: Array) -> float:
    """As `_sort`, for a class with more pairs than are kept in memory. members (M,): its rows, ascending."""
    near, far = np.zeros(LEVELS, np.int64), np.zeros(LEVELS, np.int64)
    for _, levels in CountedPairs(rows).lines(members):
        own = np.bincount(levels[:, members].ravel(), minlength=LEVELS + 1)[:LEVELS]
        near += own  # each pair twice
        far += np.bincount(levels.ravel(), minlength=LEVELS + 1)[:LEVELS] - own
    return float(near @ below_levels(far)) / 2
