"""NLEEP: LEEP through a Gaussian mixture of the features, for sources without a head.

Li et al. 2021, "Ranking Neural Checkpoints", sec. 4; with the extra `metrics` (scikit-learn).
"""

import threading
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import Undefined, UsageError
from zoo_cli.metrics.leep import expected_predictions
from zoo_cli.metrics.matrix import Matrix
from zoo_cli.metrics.probe import Probe

Array = NDArray[Any]

KEPT = 0.8  # of the variance
KEPT_MEMBERSHIPS = 1 << 22  # numbers
PER_CLASS = 5
QUIET = threading.Lock()  # warning filters are one setting for all threads
REGULAR = 1e-3  # added to each variance of a component, in units of the mean variance of all


def nleep(probe: Probe, *, seed: int = 0, seeds: int = 5) -> float:
    """Mean log-likelihood of the labels when mixture components take the place of the source's classes.

    Inputs (N, D): features or probabilities. The principal components that keep 80 % of the variance are clustered by a
    mixture of 5 C Gaussians, fewer than N, of diagonal covariance. In (-inf, 0], higher is better. The result of
    expectation maximisation depends on its starting point: the value is the mean over `seeds` starts, numbered from
    `seed`, and their standard deviation is noted as `seeds_sd=…`; smaller differences between sources mean nothing. The
    fewer samples a component has, the nearer to 0 any source scores.

    Raises Undefined: `too_few_examples`, `single_class`, `constant_features`; UsageError without scikit-learn.

    Departs from the paper's code in the covariance: a full one would have more parameters than a probe has numbers.
    """
    if seeds < 1:
        raise UsageError(f"seeds={seeds} is below 1")
    target = probe.require_classes()
    components = _components(probe)
    # Permuted labels need the same mixtures again.
    kept = seeds * probe.size * components <= max(KEPT_MEMBERSHIPS, probe.inputs.size)
    fit = _memberships if kept else _fit_mixture
    memberships = (fit(probe.matrix, components, start) for start in range(seed, seed + seeds))
    scores = np.array([np.log(expected_predictions(probs, target)).mean() for probs in memberships])
    if seeds > 1:
        probe.notes.append(f"seeds_sd={scores.std(ddof=1):.2g}")
    return float(scores.mean())


def needed_memory(probe: Probe, **_: object) -> int:
    """The bytes of the arrays (N, G) of expectation maximisation with G components, 8 of which exist at once."""
    return 8 * 8 * probe.size * _components(probe)


def _components(probe: Probe) -> int:
    return max(1, min(PER_CLASS * len(probe.target.counts), probe.size - 1))


def _memberships(matrix: Matrix, components: int, seed: int) -> Array:
    """The probability of each component for each sample (N, G), kept with the matrix."""
    return matrix.cached(f"mixture {components} {seed}", lambda: _fit_mixture(matrix, components, seed))


def _fit_mixture(matrix: Matrix, components: int, seed: int) -> Array:
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
    # Scaled to mean variance 1, so that the scale of the features does not matter, and sorted by length, so that the
    # order of the samples does not either: starting points are drawn by position.
    scores = scores / np.sqrt((scores**2).mean())
    order = np.argsort(matrix.lengths, kind="stable")
    mixture = GaussianMixture(components, covariance_type="diag", reg_covar=REGULAR, random_state=seed)
    with QUIET, warnings.catch_warnings():
        # After 100 rounds the likelihood hardly changes, and the memberships change less.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(scores[order])
    return np.asarray(mixture.predict_proba(scores))
