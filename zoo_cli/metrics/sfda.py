"""SFDA: self-challenging Fisher discriminant analysis.

Shao et al. 2022, "Not All Models Are Equal: Predicting Model Transferability in a Self-challenging Fisher Space".
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.special import softmax

from zoo_cli.errors import Undefined
from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.matrix import well_conditioned
from zoo_cli.metrics.probe import Probe

Array = NDArray[Any]

MIN_SHRINKAGE = 1e-10


def sfda(probe: Probe) -> float:
    """Mean probability that a regularised discriminant analysis gives the true class. Higher is better.

    Inputs (N, D): features. The within-class covariance is shrunk towards a multiple of the identity by
    a = max(exp(-5 s), 1e-10), s its largest eigenvalue after six steps of power iteration. Each sample is then moved
    towards the other classes by its lack of confidence, and a second analysis with the same a gives the score. In
    (0, 1]. It depends on the features' scale, and is exactly 1 for most features with D > N: `saturated`.

    Raises Undefined: `too_few_examples`, `single_class`, `no_same_class_pair`, `constant_features`, and
    `no_spread_within_classes` where in every class all samples are equal.

    The mean of probabilities as in the published code, where the paper has the sum of their logarithms. No generalised
    eigenproblem is solved: its eigenvectors multiply out to the inverse of the covariance.
    """
    target, matrix = probe.require_pairs(), probe.matrix
    total, between = float(matrix.lengths.sum()), float(((probe.sums**2).sum(axis=1) / target.sizes).sum())
    if total - between <= 1e-14 * total:
        raise Undefined("no_spread_within_classes")
    logits, share = _discriminant(matrix.centred, probe.sums, matrix.gram if matrix.tall else None, target, None)
    confidence = softmax(softmax(logits, axis=1), axis=1)[np.arange(probe.size), target.codes][:, None]
    means = probe.sums / target.sizes[:, None]
    others = (means.sum(axis=0) - means) / (len(means) - 1)
    mixed = confidence * matrix.centred
    mixed += (1 - confidence) * others[target.codes]
    logits, _ = _discriminant(mixed, target.sums(mixed), mixed.T @ mixed if matrix.tall else None, target, share)
    return float(softmax(logits, axis=1)[np.arange(probe.size), target.codes].mean())


def _discriminant(
    rows: Array, sums: Array, gram: Array | None, target: Classes, share: float | None
) -> tuple[Array, float]:
    """The logits (N, C) of rows (N, D) with class sums (C, D), and the share of the identity in their covariance.

    `gram` (D, D): the products of their columns, given where N > D. Where the covariance may be nearly singular, the
    logits come from differences between rows and class means and between class means: products would cancel.
    """
    count, width = rows.shape
    means = sums / target.sizes[:, None]
    if gram is None:
        apart = rows - means[target.codes]
        within = apart.T @ apart / count
    else:
        within = (gram - sums.T @ means) / count
    floor = float(within.trace()) / width
    share = _share(within) if share is None else share
    within *= 1 - share
    within.flat[:: width + 1] += share * floor
    prior = np.log(target.sizes / count)
    factor = None if gram is None else well_conditioned(within)
    if factor is not None:
        coefficients = linalg.cho_solve((factor, True), means.T, check_finite=False)
        return rows @ coefficients - np.einsum("ij,ji->i", means, coefficients) / 2 + prior, share
    both = np.concatenate([rows - means[target.codes], means])
    white = _whiten(within, both.T, share * floor)
    samples, means = white[:, :count], white[:, count:]
    lean = samples.T @ means
    between = np.stack([((means - mean[:, None]) ** 2).sum(axis=0) for mean in means.T])
    own = lean[np.arange(count), target.codes]
    return lean - own[:, None] - between[target.codes] / 2 + prior, share


def _share(within: Array) -> float:
    """max(exp(-5 s), 1e-10), s the largest eigenvalue of a covariance (D, D) by power iteration."""
    vector = other = within.sum(axis=1)
    for _ in range(3):
        other = _unit(within @ vector)
        vector = _unit(within @ other)
    return max(float(np.exp(-5 * (vector @ within @ other))), MIN_SHRINKAGE)


def _unit(vector: Array) -> Array:
    length = float(np.linalg.norm(vector))
    return vector / length if length else vector


def _whiten(covariance: Array, columns: Array, floor: float) -> Array:
    """Columns (D, M) scaled so that a covariance (D, D) becomes the identity. Its exact eigenvalues are at least
    `floor`, which rounding may hide."""
    try:
        factor = linalg.cholesky(covariance.T, lower=True, check_finite=False)
        return np.asarray(linalg.solve_triangular(factor, columns, lower=True, check_finite=False))
    except linalg.LinAlgError:
        values, vectors = linalg.eigh(covariance, check_finite=False)
        return np.asarray((vectors.T @ columns) / np.sqrt(np.maximum(values, floor))[:, None])
