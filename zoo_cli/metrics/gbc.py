"""GBC: Gaussian Bhattacharyya coefficient, how little the classes overlap.

Pándy et al. 2022, "Transferability Estimation using Bhattacharyya Class Separability".
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import UsageError
from zoo_cli.metrics.probe import Probe

Array = NDArray[Any]

FLOOR = 1e-4


def gbc(
    probe: Probe, *, form: Literal["spherical", "diagonal"] = "spherical", pca: int = 64, log: bool = False
) -> float:
    """Minus the sum of the overlaps of all ordered pairs of classes, each modelled as a Gaussian. Higher is better.

    Inputs (N, D): features. The overlap is exp(-b), b the Bhattacharyya distance of two Gaussians with the classes'
    means and biased variances, floored at 1e-4 per dimension: `spherical` has one variance per class, their mean;
    `diagonal` one per dimension. Computed on the scores of the first `pca` principal components, fewer where the rest
    have no variance; 0: on the features. In [-C (C - 1), 0]; for wide features it underflows to 0, which is flagged.
    `log`: minus the logarithm of the overlap, any real number in the same order.

    Raises Undefined: `too_few_examples`, `single_class`, `constant_features`.

    In the spherical form of the published code the log terms are those of one dimension.
    """
    if pca < 0:
        raise UsageError(f"pca={pca} is negative", "0 uses the features themselves")
    target = probe.require_classes()
    rows = probe.matrix.scores(pca) if pca else probe.matrix.centred
    means = target.sums(rows) / target.sizes[:, None]
    variances = np.maximum(target.sums((rows - means[target.codes]) ** 2) / target.sizes[:, None], FLOOR)
    if form == "spherical":
        variances = np.repeat(variances.mean(axis=1, keepdims=True), rows.shape[1], axis=1)
    half_log_determinants = np.log(variances).sum(axis=1) / 2
    distances = np.empty((len(means), len(means)))
    for i, (mean, variance) in enumerate(zip(means, variances, strict=True)):
        between = (variances + variance) / 2
        apart = ((means - mean) ** 2 / between).sum(axis=1) / 8
        logs = np.log(between).sum(axis=1) - half_log_determinants - half_log_determinants[i]
        distances[i] = apart + logs / 2
    others = distances[~np.eye(len(means), dtype=bool)]
    nearest = others.min()
    overlap = np.exp(nearest - others).sum()
    return float(nearest - np.log(overlap)) if log else -float(np.exp(-nearest) * overlap)


def ceiling(probe: Probe, *, log: bool = False, **_: object) -> float:
    """0, no overlap; infinity for its logarithm."""
    assert probe.size
    return np.inf if log else 0.0
