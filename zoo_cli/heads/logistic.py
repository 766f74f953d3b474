"""Multinomial logistic regression with an L2 penalty; with the extra `metrics` (scikit-learn)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from zoo_cli.errors import UsageError
from zoo_cli.heads.likelihood import LAMBDAS, ONE_LABEL_LAMBDA, check_options, logits_nll
from zoo_cli.heads.linear_head import Head, make_head
from zoo_cli.heads.standardise import Features
from zoo_cli.heads.target_labels import TargetLabels

Array = NDArray[Any]

FOLDS = 5
DECADES = LAMBDAS[::2]
ABSENT = -50.0  # the logit of a class that a fold has not seen: its probability is about 1e-22
PRECISE = 1e-12


def logistic(features: Features, targets: TargetLabels, /, *, lam: float | None = None) -> Head:
    """Fit a multinomial logistic regression on the labelled rows of features (N, D): sum of losses + lam |W|² / 2.

    The intercept is not penalised, the temperature is 1. `lam` left out is chosen from the decades 1e-3..1e2 by the
    negative log-likelihood of five stratified folds, each answered by the head of the other four. These are also what
    the result calls leave-one-out answers, which a logistic regression does not have in closed form. Where every class
    has one label, lam = 1.

    Raises UsageError without scikit-learn or for a lam that is not positive, ContractError for a number of rows other
    than the labels'.
    """
    targets.check_rows(features.values)
    options = check_options("lam", lam, DECADES)
    if targets.single and lam is None:
        options = (ONE_LABEL_LAMBDA,)
    rows = features.take(targets.rows)
    mean = rows.mean(axis=0)
    rows -= mean
    scores, back = _rotate(rows)
    folds = _stratified_folds(rows, targets)
    losses, answers = [], []
    for option in options:
        logits = np.full((len(targets), len(targets.present)), ABSENT)
        for fold in range(FOLDS):
            out = folds == fold
            if out.any() and not out.all():
                seen, weights, intercept = _fit(scores[~out], targets.codes[~out], option * targets.views)
                logits[np.ix_(out, seen)] = scores[out] @ weights + intercept
        answers.append(logits)
        losses.append(np.nan if targets.single else logits_nll(logits, targets, 1.0))
    best = int(np.argmin(losses))
    _, weights, intercept = _fit(scores, targets.codes, options[best] * targets.views)
    weights = back @ weights
    return make_head(
        features,
        targets,
        weights=weights,
        intercept=intercept - mean @ weights,
        temperature=1.0,
        lam=options[best],
        leave_one_out=answers[best],
        nll=None if targets.single else losses[best],
    )


def _rotate(rows: Array) -> tuple[Array, Array]:
    """Rows (L, D) in at most L coordinates, and how weights of these become weights of the columns (D, R).

    The penalty keeps the weights in the span of the rows, so that nothing changes but the time.
    """
    if rows.shape[0] >= rows.shape[1]:
        return rows, np.eye(rows.shape[1])
    values, directions = linalg.eigh(rows @ rows.T, driver="evd", check_finite=False)
    kept = values > PRECISE * max(values[-1], PRECISE)
    roots = np.sqrt(values[kept])
    if not kept.any():
        return np.zeros((len(rows), 1)), np.zeros((rows.shape[1], 1))
    return directions[:, kept] * roots, rows.T @ (directions[:, kept] / roots)


def _stratified_folds(rows: Array, targets: TargetLabels) -> Array:
    """The fold of each labelled row (L,): its rank by length within its class, modulo the number of folds.

    Neither the order of the rows nor that of the classes matters then. All views of an image have the fold of their
    mean.
    """
    images = rows.reshape(-1, targets.views, rows.shape[1]).mean(axis=1) if targets.views > 1 else rows
    codes = targets.codes[:: targets.views]
    lengths = np.round(np.einsum("ij,ij->i", images, images), 9)
    folds = np.zeros(len(images), dtype=np.int64)
    for code in range(len(targets.present)):
        members = np.flatnonzero(codes == code)
        folds[members[np.argsort(lengths[members], kind="stable")]] = np.arange(len(members)) % FOLDS
    return np.repeat(folds, targets.views)


def _fit(scores: Array, codes: Array, lam: float) -> tuple[Array, Array, Array]:
    """The classes that occur (P,), and their weights (R, P) and intercepts (P,), each less its mean over classes."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise UsageError("the head logistic needs scikit-learn", "pip install 'zoo-cli[metrics]'") from None

    seen = np.unique(codes)
    if len(seen) == 1:
        return seen, np.zeros((scores.shape[1], 1)), np.zeros(1)
    # Two classes have one column of weights w in scikit-learn; ours are -w / 2 and w / 2, with half its squared length.
    model = LogisticRegression(C=(2 if len(seen) == 2 else 1) / lam, tol=1e-6, max_iter=2000).fit(scores, codes)
    weights, intercept = model.coef_.T, model.intercept_
    if len(seen) == 2:  # one column, the log odds of the second class
        weights, intercept = np.hstack([-weights, weights]) / 2, np.append(-intercept, intercept) / 2
    return seen, weights, intercept
