"""A linear probe that is tested on samples it has not seen: ridge regression, leave one out, in closed form."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.metrics.probe import Probe

Array = NDArray[Any]

PENALTIES = 10.0 ** np.arange(-5, 4)


def ridge(probe: Probe) -> float:
    """The share of the labels' variance that a ridge regression explains on the sample left out. Higher is better.

    Inputs (N, D): features. All one-hot columns are regressed on them with an intercept that is not penalised. The
    error of the regression without a sample is known from its leverage (Allen 1974). The score is 1 less the sum of the
    squares of these errors over that of predicting the mean of the others, for the penalty that makes it highest of
    1e-5, 1e-4, … 1e3 times the mean squared length of a centred row. In (-inf, 1]; about 0 where the features tell
    nothing, 1 only where every sample left out is predicted without error: it does not saturate for D > N.

    Raises Undefined: `too_few_examples`, `single_class`, `constant_features`.
    """
    target, count = probe.compared(), float(probe.size)
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
