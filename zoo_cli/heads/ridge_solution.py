"""Ridge regression of one-hot labels with an intercept: all penalties from one eigendecomposition.

Where each image stands in V rows, its views, every row counts 1 / V: V equal views give what one gives. Leave-one-out
then leaves out all rows of an image, exactly: the block form of the hat matrix.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from zoo_cli.heads.likelihood import LAMBDAS, ONE_LABEL_LAMBDA, check_options, choose_temperature
from zoo_cli.heads.target_labels import TargetLabels

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class RidgeSolution:
    """A ridge regression at the chosen penalty and temperature.

    `leave_one_out` (L, P): regression values of each labelled image without its label; `base` (P,): the mean one-hot
    label. `dual` (L, P): a row phi has the value base + (phi - mean) A' dual; or `primal` (D, P): base + (phi - mean)
    primal. One of the two is None. `nll` is None where every class has one label.
    """

    lam: float
    temperature: float
    nll: float | None
    leave_one_out: Array
    base: Array
    dual: Array | None = None
    primal: Array | None = None

    def weights(self, rows: Array) -> Array:
        """Weights (D, P), given the centred labelled rows A (L, D)."""
        if self.primal is not None:
            return self.primal
        assert self.dual is not None
        return np.asarray(rows.T @ self.dual)


def solve_rows(rows: Array, targets: TargetLabels, lam: float | None, temperature: float | None) -> RidgeSolution:
    """Solve for centred labelled rows (L, D), by their Gram matrix (L, L), or by that of the columns where L > D."""
    if rows.shape[0] <= rows.shape[1]:
        return solve_gram(rows @ rows.T, targets, lam, temperature)
    root = np.sqrt(targets.views)
    values, directions = linalg.eigh(rows.T @ rows / targets.views, driver="evd", overwrite_a=True, check_finite=False)
    values = np.maximum(values, 0.0)
    scores = rows @ directions / root
    base, centred = _centred_labels(targets)
    inner = scores.T @ centred
    choice = _choose(scores, values, inner, targets, lam, temperature)
    primal = directions @ (inner / (values + choice.lam)[:, None]) / root
    return RidgeSolution(choice.lam, choice.temperature, choice.nll, choice.logits, base, primal=primal)


def solve_gram(gram: Array, targets: TargetLabels, lam: float | None, temperature: float | None) -> RidgeSolution:
    """Solve for the Gram matrix (L, L) of centred labelled rows, which is overwritten."""
    gram /= targets.views
    values, directions = linalg.eigh(gram, driver="evd", overwrite_a=True, check_finite=False)
    values = np.maximum(values, 0.0)
    base, centred = _centred_labels(targets)
    inner = directions.T @ centred
    roots = np.sqrt(values)
    choice = _choose(directions * roots, values, inner * roots[:, None], targets, lam, temperature)
    dual = directions @ (inner / (values + choice.lam)[:, None]) / targets.views
    return RidgeSolution(choice.lam, choice.temperature, choice.nll, choice.logits, base, dual=dual)


@dataclass(frozen=True, eq=False)
class _Choice:
    lam: float
    temperature: float
    nll: float | None
    logits: Array


def _centred_labels(targets: TargetLabels) -> tuple[Array, Array]:
    base = targets.counts / len(targets)
    return base, targets.one_hot - base


def _choose(
    scores: Array, values: Array, inner: Array, targets: TargetLabels, lam: float | None, temperature: float | None
) -> _Choice:
    """The penalty and temperature of least leave-one-out nll, from rows in the eigenbasis (L, R)."""
    options = check_options("lam", lam, LAMBDAS)
    if targets.single and lam is None:
        options = (ONE_LABEL_LAMBDA,)
    base = targets.counts / len(targets)
    squares = scores**2
    best: _Choice | None = None
    for option in options:
        shrink = 1 / (values + option)
        errors = targets.one_hot - base - scores @ (inner * shrink[:, None])
        # Centring on the labelled rows adds 1 / L to the leverage and makes this exact (Allen 1974).
        if targets.views > 1:
            logits = targets.one_hot - _leave_out_groups(scores * np.sqrt(shrink), errors, targets.views)
        else:
            leverage = squares @ shrink + 1 / len(targets)
            logits = targets.one_hot - errors / (1 - leverage)[:, None]
        chosen, nll = choose_temperature(logits, targets, temperature)
        if best is None or (nll is not None and best.nll is not None and nll < best.nll):
            best = _Choice(option, chosen, nll, logits)
    assert best is not None
    return best


def _leave_out_groups(roots: Array, errors: Array, size: int) -> Array:
    """Errors (L, P) of each row without the `size` rows of its image, from those with them.

    `roots` (L, R): with products as the hat matrix has, but for the intercept.
    """
    groups = roots.reshape(-1, size, roots.shape[1])
    hats = groups @ groups.transpose(0, 2, 1) + 1 / len(roots)
    solved = np.linalg.solve(np.eye(size) - hats, errors.reshape(-1, size, errors.shape[1]))
    return np.asarray(solved.reshape(errors.shape))
