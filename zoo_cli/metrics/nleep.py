"""NLEEP: LEEP through a Gaussian mixture of the features, for sources without a head.

Li et al. 2021, "Ranking Neural Checkpoints", sec. 4; with the extra `metrics` (scikit-learn).
"""

import threading
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import Undefined, UsageError
from zoo_cli.metrics.leep import expected
from zoo_cli.metrics.matrix import Matrix
from zoo_cli.metrics.probe import Probe

Array = NDArray[Any]

KEPT = 0.8  # of the variance
PER_CLASS = 5
QUIET = threading.Lock()  # which warnings are heard is one setting for all threads
REGULAR = 1e-3  # added to each variance of a component, in units of the mean variance of all


def nleep(probe: Probe, *, seed: int = 0, seeds: int = 5) -> float:
    """Mean log-likelihood of the labels when components of a mixture take the place of the source's classes.

    Inputs (N, D): features or probabilities. The principal components that keep 80 % of the variance are clustered by a
    mixture of 5 C Gaussians, fewer than N, of diagonal covariance. In (-inf, 0], higher is better. Expectation
    maximisation ends where it begins: the value is the mean over `seeds` beginnings, counted from `seed`, and their
    standard deviation is in the flags, `seeds_sd=…`; two sources that differ by less are not told apart. The more
    components a class has for its samples, the nearer to 0 is any source.

    Raises Undefined: `too_few_examples`, `single_class`, `constant_features`; UsageError without scikit-learn.

    Departs from the paper's code in the covariance, of which full ones have more parameters than a probe has numbers.
    """
    if seeds < 1:
        raise UsageError(f"seeds={seeds} is no number of beginnings", "1 or more")
    target = probe.compared()
    components = min(PER_CLASS * len(target.counts), probe.size - 1)
    memberships = [_memberships(probe.matrix, components, begin) for begin in range(seed, seed + seeds)]
    scores = np.array([np.log(expected(one, target)).mean() for one in memberships])
    if seeds > 1:
        probe.notes.append(f"seeds_sd={scores.std(ddof=1):.2g}")
    return float(scores.mean())


def _memberships(matrix: Matrix, components: int, seed: int) -> Array:
    """The probability of each component for each sample (N, G), kept with the matrix: permuted labels need it again."""
    held, key = vars(matrix), f"mixture {components} {seed}"
    if key not in held:
        held[key] = _fitted(matrix, components, seed)
    found: Array = held[key]
    return found


def _fitted(matrix: Matrix, components: int, seed: int) -> Array:
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture
    except ImportError:
        raise UsageError("nleep needs scikit-learn", "pip install 'zoo-cli[metrics]'") from None

    values = matrix.spectrum.values
    if not len(values):
        raise Undefined("constant_features")
    width = int(np.searchsorted(np.cumsum(values), KEPT * values.sum()) + 1)
    scores = matrix.scores(min(width, len(values)))
    # In units in which the mean variance is 1, so that the scale of the features does not matter; and in an order that
    # is the samples' own, so that theirs does not either: beginnings are drawn by place.
    scores = scores / np.sqrt((scores**2).mean())
    order = np.argsort(matrix.lengths, kind="stable")
    mixture = GaussianMixture(components, covariance_type="diag", reg_covar=REGULAR, random_state=seed)
    with QUIET, warnings.catch_warnings():
        # After 100 rounds the likelihood hardly moves, and the memberships less.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(scores[order])
    return np.asarray(mixture.predict_proba(scores))
