"""PARC split by class: which classes a source separates from the others."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.pairs import unit_rows

Array = NDArray[Any]


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
        members = target.codes == c
        products = rows[members] @ rows.T
        near = products[:, members][np.triu_indices(count, 1)]
        far = np.sort(products[:, ~members].ravel())
        below = np.searchsorted(far, near - 1e-12) + np.searchsorted(far, near + 1e-12)
        auc[c] = below.sum() / (2 * len(near) * len(far))
    return auc
