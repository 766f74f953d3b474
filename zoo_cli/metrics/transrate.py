"""TransRate: how much shorter a code of the features becomes once the classes are known.

Huang et al. 2022, "Frustratingly Easy Transferability Estimation".
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from zoo_cli.metrics.probe import Probe

Array = NDArray[Any]

EPS = 1e-4


def transrate(probe: Probe, *, form: Literal["code", "paper"] = "code") -> float:
    """Coding rate of the features minus that of the features within each class. Higher is better.

    Inputs (N, D): features, centred by their mean. R(Z) = log det(I + Z'Z / (n eps)) / 2, eps = 1e-4, n rows in Z.
    `code`, the authors' listing: R(Z) minus the mean of R over the classes; it depends on the features' scale.
    `paper`: Z scaled to ||Z|| = 1, classes weighted by size. At least 0 in practice, without an upper bound.

    Raises Undefined: `too_few_examples`, `single_class`, `constant_features`.
    """
    target, matrix = probe.require_classes(), probe.matrix
    count = float(probe.size)
    scale = 1.0 if form == "code" else 1 / float(matrix.lengths.sum())
    weights = np.full(len(target.counts), 1 / len(target.counts)) if form == "code" else target.sizes / count
    whole = _rate(matrix.gram, scale, count)
    within = [_rate(_gram(probe, rows), scale, float(len(rows))) for rows in target.members]
    return whole - float(weights @ np.array(within))


def _gram(probe: Probe, rows: Array) -> Array:
    """The smaller Gram matrix of the centred rows at indices `rows`."""
    if not probe.matrix.tall:
        return np.asarray(probe.matrix.gram[np.ix_(rows, rows)])
    centred = probe.matrix.centred[rows]
    return np.asarray(centred @ centred.T if len(rows) < centred.shape[1] else centred.T @ centred)


def _rate(gram: Array, scale: float, count: float) -> float:
    """log det(I + scale gram / (count eps)) / 2 of gram (M, M)."""
    rate = gram * (scale / (count * EPS))
    rate.flat[:: len(rate) + 1] += 1.0
    factor = linalg.cholesky(rate.T, lower=True, overwrite_a=True, check_finite=False)
    return float(np.log(factor.diagonal()).sum())
