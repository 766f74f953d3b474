"""GBC: Gaussian Bhattacharyya coefficient, how little the classes overlap.

Pándy et al. 2022, "Transferability Estimation using Bhattacharyya Class Separability".
"""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas
from scipy.spatial.distance import cdist

from zoo_cli.errors import UsageError
from zoo_cli.metrics.downdates import Downdate
from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.leading import find_leading
from zoo_cli.metrics.matrix import PRECISE, Matrix
from zoo_cli.metrics.probe import Probe
from zoo_cli.metrics.subsamples import Subsamples, score_or_nan

Array = NDArray[Any]

FLOOR = 1e-4
ENTRIES = 1 << 18  # of a block of distances
LEAST_GAP = 1e-5  # between eigenvalues, of the largest: rounding turns eigenvectors by about 1e-16 over it


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
    rows = probe.matrix.leading_scores(pca) if pca else probe.matrix.centred
    return _score(*_moments(rows, target), form, log)


def _moments(rows: Array, target: Classes) -> tuple[Array, Array]:
    """The means and the floored variances of the rows (N, D) of each class, (C, D) both."""
    means = target.sums(rows) / target.sizes[:, None]
    return means, np.maximum(target.sums((rows - means[target.codes]) ** 2) / target.sizes[:, None], FLOOR)


def _score(means: Array, variances: Array, form: str, log: bool) -> float:
    nearest, overlap = np.inf, 0.0
    for distances in _distances(means, variances.mean(axis=1) if form == "spherical" else variances):
        # The sum of exp(nearest - distance), which cannot overflow, nor all of it underflow.
        closest = min(nearest, float(distances.min()))
        overlap = overlap * float(np.exp(closest - nearest)) + float(np.exp(closest - distances).sum())
        nearest = closest
    overlap *= 2
    return float(nearest - np.log(overlap)) if log else -float(np.exp(-nearest) * overlap)


def _distances(means: Array, variances: Array) -> Iterator[Array]:
    """Bhattacharyya distances of each pair of classes, of means (C, D), a block of pairs at a time. Variances: one a
    class (C,), or one a dimension (C, D)."""
    count, width = means.shape
    spherical = variances.ndim == 1
    logs = np.log(variances) * width if spherical else np.log(variances).sum(axis=1)
    start = 0
    while start < count - 1:
        stop = min(count - 1, start + max(1, ENTRIES // ((count - start) * (1 if spherical else width))))
        first, second = slice(start, stop), slice(start + 1, count)
        between = (variances[first, None] + variances[None, second]) / 2
        if spherical:
            apart = cdist(means[first], means[second], "sqeuclidean") / between
            spread = np.log(between) * width
        else:
            apart = ((means[first, None] - means[None, second]) ** 2 / between).sum(axis=2)
            spread = np.log(between).sum(axis=2)
        distances = apart / 8 + (spread - (logs[first, None] + logs[None, second]) / 2) / 2
        yield distances[np.triu_indices(stop - start, 0, count - start - 1)]
        start = stop


def on_subsamples(
    probe: Probe,
    subsamples: Subsamples,
    *,
    form: Literal["spherical", "diagonal"] = "spherical",
    pca: int = 64,
    log: bool = False,
) -> Array | None:
    """The scores of subsamples (H,), NaN where undefined; None where each is computed by itself.

    The Gram matrix of a subsample is that of the probe less the products of the rows that it lacks.
    """
    if pca <= 0 or not probe.matrix.tall or probe.matrix.streamed or probe.size < 3 or probe.matrix.constant:
        return None
    scores = np.empty(len(subsamples))
    for i, (rows, target) in enumerate(subsamples.parts):
        moments = _part_moments(probe.matrix, rows, target, pca, form)
        if moments is None:
            scores[i] = score_or_nan(gbc, probe.take(rows, target), form=form, pca=pca, log=log)
        else:
            scores[i] = _score(*moments, form, log)
    return scores


def _part_moments(matrix: Matrix, rows: Array, target: Classes, pca: int, form: str) -> tuple[Array, Array] | None:
    """`_moments` of a subsample in its principal components; None if it must be computed by itself."""
    if len(rows) <= matrix.width or len(target.counts) < 2:
        return None
    part = Downdate(matrix.centred, rows, target)
    # Of both matrices, the half that is read.
    gram = blas.dsyrk(-1.0, part.left_out.T, beta=1.0, c=matrix.gram.T, lower=1).T
    leading = find_leading(gram, pca + 1)
    if leading is None:
        return None
    values, vectors = leading[0], leading[1][:, :pca]
    gaps = (values[:pca] - values[1 : pca + 1]) / values[0]
    if gaps[-1] < LEAST_GAP or values[pca] < PRECISE * values[0]:
        return None
    scores = matrix.centred @ vectors
    means, variances = _moments(scores[rows] - part.mean @ vectors, target)
    # The space of the components is exact enough. So must each of them be, where the score depends on it.
    rotated = form == "spherical" and not ((variances <= FLOOR).any(axis=1) & (target.counts > 1)).any()
    return (means, variances) if rotated or gaps.min() >= LEAST_GAP else None


def ceiling(probe: Probe, *, log: bool = False, **_: object) -> float:
    """0, no overlap; infinity for its logarithm."""
    assert probe.size
    return np.inf if log else 0.0
