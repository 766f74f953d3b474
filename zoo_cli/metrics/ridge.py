"""A linear probe tested on unseen samples: leave-one-out ridge regression in closed form."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.probe import Probe

Array = NDArray[Any]

ENTRIES = 1 << 21  # of a block of errors
PENALTIES = 10.0 ** np.arange(-5, 4)
ROUNDING = 1e-12  # of the labels' variance, more than rounding can hide


def ridge(probe: Probe) -> float:
    """Share of the labels' variance that a ridge regression explains on left-out samples. Higher is better.

    Inputs (N, D): features. All one-hot columns are regressed on them with an intercept that is not penalised. The
    error on a left-out sample follows from its leverage (Allen 1974). The score is 1 minus the sum of squares of these
    errors over that of predicting the mean of the other samples, for the best penalty among 1e-5, 1e-4, … 1e3 times the
    mean squared length of a centred row. In (-inf, 1]; about 0 for uninformative features, 1 only where every left-out
    sample is predicted without error: it does not saturate for D > N.

    Raises Undefined: `too_few_examples`, `single_class`, `constant_features`.
    """
    target, count = probe.require_classes(), float(probe.size)
    rows, values = probe.matrix.scores(), probe.matrix.spectrum.values
    inner, labels, outside = _rotate(target.sums(rows), target)
    spread = count - float(target.sizes @ target.sizes) / count
    shrinkage = 1 / (values + PENALTIES[:, None] * float(values.sum()) / count)
    free = probe.matrix.cached("ridge free shares", lambda: _free_shares(rows, shrinkage))
    # The sum of squares of the errors without leaving out: the score's denominators are at most `free`.
    fitted = (shrinkage * (2 - values * shrinkage)) @ np.einsum("ij,ij->j", inner, inner)
    bounds = (spread - fitted - ROUNDING * spread) / free.max(axis=1) ** 2
    least = np.inf
    for i in np.argsort(bounds, kind="stable"):
        if bounds[i] < least:
            least = min(least, _press(rows, target, inner * shrinkage[i], labels, outside, free[i]))
    return 1 - least / (spread * (count / (count - 1)) ** 2)


def _free_shares(rows: Array, shrinkage: Array) -> Array:
    """1 less the leverage of each of the rows (N, R), for each of the penalties, shrinkage (P, R): (P, N)."""
    free = np.empty((len(shrinkage), len(rows)))
    step = max(1, ENTRIES // max(rows.shape[1], 1))
    for start in range(0, len(rows), step):
        squares = rows[start : start + step] ** 2
        for i, shrink in enumerate(shrinkage):
            free[i, start : start + step] = 1 - (1 / len(rows) + squares @ shrink)
    return free


def _press(rows: Array, target: Classes, weights: Array, labels: Array, outside: Array, free: Array) -> float:
    """The sum of squares of the errors on left-out samples. Weights (B, R), labels (C, B) and outside (C,) as from
    `_rotate`; free (N,)."""
    press = 0.0
    step = max(1, ENTRIES // max(labels.shape))
    for start in range(0, len(rows), step):
        block = slice(start, start + step)
        codes = target.codes[block]
        errors = labels[codes] - rows[block] @ weights.T
        press += float(((np.einsum("ij,ij->i", errors, errors) + outside[codes]) / free[block] ** 2).sum())
    return press


def _rotate(inner: Array, target: Classes) -> tuple[Array, Array, Array]:
    """The products of the one-hot columns with the features (C, R) and the centred labels of each class (C, C), both in
    an orthonormal basis of the first if that is smaller: (B, R) and (C, B). Third, the squared length of each class's
    labels outside of that basis (C,), which no regression on the features explains."""
    count, width = inner.shape
    share = target.sizes / len(target)
    if count <= width:
        return inner, np.eye(count) - share, np.zeros(count)
    basis, inner = np.linalg.qr(inner)
    labels = basis - share @ basis
    # The labels of class c less their part within the basis, in blocks of classes.
    outside = np.empty(count)
    step = max(1, ENTRIES // count)
    for start in range(0, count, step):
        rest = -share - labels[start : start + step] @ basis.T
        rest[np.arange(len(rest)), start + np.arange(len(rest))] += 1
        outside[start : start + step] = np.einsum("ij,ij->i", rest, rest)
    return inner, labels, outside
