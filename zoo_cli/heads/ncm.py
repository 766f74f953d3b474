"""Nearest class mean, with a softmax over squared distances (Mensink et al. 2013; Snell et al. 2017)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.heads.likelihood import choose_temperature
from zoo_cli.heads.linear_head import Head, make_head
from zoo_cli.heads.standardise import Features
from zoo_cli.heads.target_labels import TargetLabels

Array = NDArray[Any]


def ncm(features: Features, targets: TargetLabels, /, *, T: float | None = None) -> Head:
    """Fit a nearest-class-mean head on the labelled rows of features (N, D).

    Probabilities are softmax(-|phi - m_c|² / T), m_c the mean of class c. `T`: the temperature; left out, it is chosen
    from 0.01..1 by the leave-one-out negative log-likelihood, in which the mean of an image's own class leaves it out;
    0.1 where every class has one label.

    Raises UsageError for a T that is not positive, ContractError for a number of rows other than the labels'.
    """
    targets.check_rows(features.values)
    rows = features.take(targets.rows)
    means = targets.one_hot.T @ rows / targets.counts[:, None]
    # |phi|² is the same for all classes: the logits are linear.
    weights, intercept = 2 * means.T, -np.einsum("ij,ij->i", means, means)
    lengths = np.einsum("ij,ij->i", rows, rows)[:, None]
    logits = rows @ weights + intercept - lengths
    own = np.arange(len(targets))
    logits[own, targets.codes] = _leave_one_out(rows, means, targets)
    temperature, nll = choose_temperature(logits, targets, T)
    return make_head(
        features,
        targets,
        weights=weights,
        intercept=intercept,
        temperature=temperature,
        lam=None,
        leave_one_out=logits,
        nll=nll,
    )


def _leave_one_out(rows: Array, means: Array, targets: TargetLabels) -> Array:
    """The logit (L,) of each row's own class whose mean leaves the image out; -inf for a class that has no other."""
    counts, views = targets.counts[targets.codes].astype(np.float64), targets.views
    distances = rows - means[targets.codes]
    nearness = np.full(len(targets), -np.inf)
    if views > 1:
        # Without the V rows of an image of mean g, the mean of its class is m - (g - m) V / (n - V).
        images = distances.reshape(-1, views, distances.shape[1]).mean(axis=1)
        shift = np.divide(views, counts - views, out=np.zeros_like(counts), where=counts > views)
        distances = distances + np.repeat(images, views, axis=0) * shift[:, None]
        nearness[targets.judged] = -np.einsum("ij,ij->i", distances, distances)[targets.judged]
        return nearness
    # phi - (n m - phi) / (n - 1) = (phi - m) n / (n - 1); a class that loses its only label is impossible.
    ratio = np.full(len(targets), np.inf)
    np.divide(counts, counts - 1, out=ratio, where=counts > 1)
    squares = np.einsum("ij,ij->i", distances, distances)
    np.multiply(-squares, ratio**2, out=nearness, where=counts > 1)
    return nearness
