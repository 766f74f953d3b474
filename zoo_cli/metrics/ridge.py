"""A linear probe tested on unseen samples: leave-one-out ridge regression in closed form."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.probe import Probe

Array = NDArray[Any]

ENTRIES = 1 << 21  # of a block of errors
PENALTIES = 10.0 ** np.arange(-5, 4)


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
    baseline = (count - float(target.sizes @ target.sizes) / count) * (count / (count - 1)) ** 2
    penalties = PENALTIES * float(values.sum()) / count
    press = np.zeros(len(penalties))
    step = max(1, ENTRIES // max(labels.shape))
    for start in range(0, probe.size, step):
        block, codes = rows[start : start + step], target.codes[start : start + step]
        squares = block**2
        for i, penalty in enumerate(penalties):
            shrink = 1 / (values + penalty)
            leverage = 1 / count + squares @ shrink
            errors = labels[codes] - block @ (inner * shrink).T
            press[i] += ((np.einsum("ij,ij->i", errors, errors) + outside[codes]) / (1 - leverage) ** 2).sum()
    return 1 - float(press.min()) / baseline


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
