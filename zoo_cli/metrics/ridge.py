"""A linear probe tested on unseen samples: leave-one-out ridge regression in closed form."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.metrics.probe import Probe

Array = NDArray[Any]

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
    inner = target.sums(rows)
    squares = rows**2
    labels = -np.repeat((target.sizes / count)[None, :], probe.size, axis=0)
    labels[np.arange(probe.size), target.codes] += 1.0
    baseline = float(np.vdot(labels, labels)) * (count / (count - 1)) ** 2
    best = -np.inf
    for penalty in PENALTIES * float(values.sum()) / count:
        shrink = 1 / (values + penalty)
        leverage = 1 / count + squares @ shrink
        errors = labels - rows @ (inner * shrink).T
        press = float((np.einsum("ij,ij->i", errors, errors) / (1 - leverage) ** 2).sum())
        best = max(best, 1 - press / baseline)
    return best
