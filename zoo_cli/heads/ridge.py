"""Ridge regression of the one-hot labels on a source's features, in closed form (Hoerl and Kennard 1970)."""

from zoo_cli.heads.linear_head import Head, make_head
from zoo_cli.heads.ridge_solution import solve_rows
from zoo_cli.heads.standardise import Features
from zoo_cli.heads.target_labels import TargetLabels


def ridge(features: Features, targets: TargetLabels, /, *, lam: float | None = None, T: float | None = None) -> Head:
    """Fit a ridge head with an unpenalised intercept on the labelled rows of features (N, D).

    Probabilities are softmax(F / T) of the regression values F. `lam`: the penalty, in units of the mean squared length
    of a row; `T`: the temperature. Left out, they are chosen from half decades 1e-3..1e2 and from 0.01..1 by the
    leave-one-out negative log-likelihood, which is exact at fixed lam and T (PRESS, Allen 1974). Where every class has
    one label, nothing can be chosen: lam = 1, T = 0.1.

    Raises UsageError for a lam or T that is not positive, ContractError for a number of rows other than the labels'.
    """
    targets.check_rows(features.values)
    rows = features.take(targets.rows)
    mean = rows.mean(axis=0)
    rows -= mean
    solution = solve_rows(rows, targets, lam, T)
    weights = solution.weights(rows)
    return make_head(
        features,
        targets,
        weights=weights,
        intercept=solution.base - mean @ weights,
        temperature=solution.temperature,
        lam=solution.lam,
        leave_one_out=solution.leave_one_out,
        nll=solution.nll,
    )
