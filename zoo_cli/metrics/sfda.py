"""SFDA: self-challenging Fisher discriminant analysis.

Shao et al. 2022, "Not All Models Are Equal: Predicting Model Transferability in a Self-challenging Fisher Space".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.spatial.distance import cdist
from scipy.special import softmax

from zoo_cli.errors import Undefined
from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.matrix import Matrix, well_conditioned
from zoo_cli.metrics.probe import Probe

Array = NDArray[Any]

ENTRIES = 1 << 20  # of a block of logits
MIN_SHRINKAGE = 1e-10
LEAST_LOGIT = -700.0  # below the largest: exp of less is not a normal number, with which arithmetic is 20 times slower
WIDE = 2  # more columns for each row than this are rotated


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
    rows, start = _rotate(matrix)
    sums = probe.sums if rows is matrix.centred else target.sums(rows)
    fit = _fit(rows, sums, matrix.gram if matrix.tall else None, target, matrix.width, start, None)
    confidence = np.concatenate(
        [softmax(_find_shares(logits), axis=1)[own, codes] for logits, own, codes in fit.logits(target)]
    )[np.argsort(target.order)][:, None]
    means = sums / target.sizes[:, None]
    others = (means.sum(axis=0) - means) / (len(means) - 1)
    mixed = confidence * rows
    mixed += (1 - confidence) * others[target.codes]
    gram = mixed.T @ mixed if matrix.tall else None
    fit = _fit(mixed, target.sums(mixed), gram, target, matrix.width, start, fit.share)
    right = sum(float(_find_shares(logits)[own, codes].sum()) for logits, own, codes in fit.logits(target))
    return right / probe.size


def _rotate(matrix: Matrix) -> tuple[Array, Array]:
    """The centred rows and a row of ones (D,). Far more columns than rows are rotated into as few as the rows span
    (N, N + 1), which changes neither products nor distances."""
    if matrix.width <= WIDE * len(matrix):
        return matrix.centred, np.ones(matrix.width)
    return matrix.cached("rotated rows", lambda: _compute_rotation(matrix))


def _compute_rotation(matrix: Matrix) -> tuple[Array, Array]:
    if matrix.whole is not None and matrix.whole[0].is_cached("rotated rows"):
        whole, rows = matrix.whole
        rotated, ones = _rotate(whole)
        return rotated[rows] - rotated[rows].mean(axis=0), ones
    columns = np.concatenate([matrix.centred, np.ones((1, matrix.width))]).T
    rotated = linalg.qr(columns, mode="r", overwrite_a=True, check_finite=False)[0][: len(matrix) + 1].T
    return np.ascontiguousarray(rotated[:-1]), np.ascontiguousarray(rotated[-1])


@dataclass(frozen=True)
class _Discriminant:
    """A fitted analysis: the `share` of the identity in the covariance, rows (N, D), a direction (D, C) and an offset
    (C,) for each class. `apart`: the rows are those less their class means, and the directions the class means, both
    scaled so that the covariance is the identity."""

    share: float
    rows: Array
    directions: Array
    offsets: Array
    apart: bool

    def logits(self, target: Classes) -> Iterator[tuple[Array, Array, Array]]:
        """The logits (R, C) of some samples at a time, in the order of `target.order`; the positions (R,) and codes
        (R,) of their own classes."""
        step = max(1, ENTRIES // len(self.offsets))
        for start in range(0, len(self.rows), step):
            block = target.order[start : start + step]
            own, codes = np.arange(len(block)), target.codes[block]
            logits = self.rows[block] @ self.directions
            if self.apart:
                present, place = np.unique(codes, return_inverse=True)
                logits -= logits[own, codes][:, None]
                logits -= cdist(self.directions.T[present], self.directions.T, "sqeuclidean")[place] / 2
            yield logits + self.offsets, own, codes


def _fit(
    rows: Array, sums: Array, gram: Array | None, target: Classes, width: int, start: Array, share: float | None
) -> _Discriminant:
    """The analysis of rows (N, D) with class sums (C, D).

    `gram` (D, D): the products of their columns, given where N > D. `width`: of the features before any rotation, among
    which the trace of the covariance is shared. Where the covariance may be nearly singular, the logits come from
    differences between rows and class means and between class means: products would cancel.
    """
    count, size = rows.shape
    means = sums / target.sizes[:, None]
    if gram is None:
        apart = rows - means[target.codes]
        within = apart.T @ apart / count
    else:
        within = (gram - sums.T @ means) / count
    floor = float(within.trace()) / width
    share = _share(within, start) if share is None else share
    within *= 1 - share
    within.flat[:: size + 1] += share * floor
    prior = np.log(target.sizes / count)
    factor = None if gram is None else well_conditioned(within)
    if factor is not None:
        coefficients = linalg.cho_solve((factor, True), means.T, check_finite=False)
        return _Discriminant(share, rows, coefficients, prior - np.einsum("ij,ji->i", means, coefficients) / 2, False)
    both = np.concatenate([rows - means[target.codes], means])
    white = _whiten(within, both.T, share * floor)
    return _Discriminant(share, np.ascontiguousarray(white[:, :count].T), white[:, count:], prior, True)


def _find_shares(logits: Array) -> Array:
    """The softmax of each row of logits (N, C)."""
    return np.asarray(softmax(np.maximum(logits - logits.max(axis=1, keepdims=True), LEAST_LOGIT), axis=1))


def _share(within: Array, start: Array) -> float:
    """max(exp(-5 s), 1e-10), s the largest eigenvalue of a covariance (D, D) by power iteration from start (D,)."""
    vector = other = within @ start
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
