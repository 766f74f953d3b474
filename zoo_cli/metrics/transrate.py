"""TransRate: how much shorter a code of the features becomes once the classes are known.

Huang et al. 2022, "Frustratingly Easy Transferability Estimation".
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from zoo_cli.metrics.probe import Probe
from zoo_cli.metrics.subsamples import Subsamples

Array = NDArray[Any]

EPS = 1e-4
ENTRIES = 1 << 25  # products that are kept at once: 256 MB
LEAST_PIVOT = 1e-5  # below it, so much of the rows that are left out cancels that the rest is computed by itself


def transrate(probe: Probe, *, form: Literal["code", "paper"] = "code") -> float:
    """Coding rate of the features minus that of the features within each class. Higher is better.

    Inputs (N, D): features, centred by their mean. R(Z) = log det(I + Z'Z / (n eps)) / 2, eps = 1e-4, n rows in Z.
    `code`, the authors' listing: R(Z) minus the mean of R over the classes; it depends on the features' scale.
    `paper`: Z scaled to ||Z|| = 1, classes weighted by size. At least 0 in practice, without an upper bound.

    Raises Undefined: `too_few_examples`, `single_class`, `constant_features`.
    """
    target, matrix = probe.require_classes(), probe.matrix
    count = float(probe.size)
    scale = 1.0 if form == "code" else 1 / float(matrix.lengths.sum())
    weights = np.full(len(target.counts), 1 / len(target.counts)) if form == "code" else target.sizes / count
    whole = matrix.cached(f"coding rate {form}", lambda: _rate(matrix.gram, scale, count))
    within = [_rate(_gram(probe, rows), scale, float(len(rows))) for rows in target.members]
    return whole - float(weights @ np.array(within))


def _gram(probe: Probe, rows: Array) -> Array:
    """The smaller Gram matrix of the centred rows at indices `rows`."""
    if not probe.matrix.tall:
        return np.asarray(probe.matrix.gram[np.ix_(rows, rows)])
    centred = probe.matrix.centred[rows]
    return np.asarray(centred @ centred.T if len(rows) < centred.shape[1] else centred.T @ centred)


def _rate(gram: Array, scale: float, count: float) -> float:
    """log det(I + scale gram / (count eps)) / 2 of gram (M, M)."""
    rate = gram * (scale / (count * EPS))
    rate.flat[:: len(rate) + 1] += 1.0
    factor = linalg.cholesky(rate.T, lower=True, overwrite_a=True, check_finite=False)
    return float(np.log(factor.diagonal()).sum())


def on_subsamples(probe: Probe, subsamples: Subsamples, *, form: Literal["code", "paper"] = "code") -> Array | None:
    """The TransRate of every subsample (H,), NaN where undefined; None where each is computed by itself.

    With Z the rows of a subsample and A = n eps I + X'X of all rows X about the mean row of the probe, Z'Z is X'X less
    the rows that are left out, R, and their mean: det(n eps I + Z'Z) = det(A) det(I - U A^-1 U'), U = R and that mean.
    """
    matrix = probe.matrix
    sizes = {len(rows) for rows, _ in subsamples.parts}
    if form != "code" or not matrix.tall or len(sizes) != 1 or probe.size < 3 or matrix.constant:
        return None
    kept = sizes.pop()
    if not _saves_time(probe, subsamples, kept):
        return None
    gram = matrix.gram / (kept * EPS)
    gram.flat[:: len(gram) + 1] += 1.0
    factor = linalg.cholesky(gram.T, lower=True, overwrite_a=True, check_finite=False)
    centred = matrix.centred
    # (D, N): the rows in the basis in which A is I.
    basis = linalg.solve_triangular(factor, centred.T, lower=True, check_finite=False) / np.sqrt(kept * EPS)
    leverages = basis.T @ basis
    whole = float(np.log(factor.diagonal()).sum())
    scores = np.empty(len(subsamples))
    for i, (rows, target) in enumerate(subsamples.parts):
        rate = _rate_without(leverages, rows)
        if rate is None or len(target.counts) < 2:
            return None
        scores[i] = whole + rate
    return scores - _rates_within(probe, subsamples)


def _saves_time(probe: Probe, subsamples: Subsamples, kept: int) -> bool:
    """Whether the products of all rows, and a factor of those that are left out, cost less than the Gram matrices of
    the subsamples do, and fit in memory, as the stacks of small Gram matrices must."""
    count, width, number = probe.size, probe.matrix.width, len(subsamples)
    largest = min(width, int(probe.target.counts.max()))
    if count**2 > ENTRIES or number * largest**2 > ENTRIES:
        return False
    return count**2 * width + number * (count - kept) ** 3 / 3 < number * kept * width**2


def _rate_without(leverages: Array, rows: Array) -> float | None:
    """log det(I - U A^-1 U') / 2, from the products of all rows in that basis, leverages (N, N); None if imprecise."""
    left_out = np.ones(len(leverages), dtype=bool)
    left_out[rows] = False
    # The mean of the kept rows is minus the sum of the others over their number: the centred rows sum to 0.
    block = leverages[np.ix_(left_out, left_out)]
    rest = len(block)
    # With it, R'R becomes R'(I + 11'/n)R, and W = I + w 11' is the root of the matrix between.
    weight = (np.sqrt(1 + rest / len(rows)) - 1) / rest
    block = block + weight * block.sum(axis=0)
    inner = -(block + weight * block.sum(axis=1, keepdims=True))
    inner.flat[:: rest + 1] += 1.0
    try:
        factor = linalg.cholesky(inner, lower=True, overwrite_a=True, check_finite=False)
    except linalg.LinAlgError:
        return None
    pivots = factor.diagonal()
    return float(np.log(pivots).sum()) if pivots.min() ** 2 > LEAST_PIVOT else None


def _rates_within(probe: Probe, subsamples: Subsamples) -> Array:
    """The mean over the classes of the coding rate within each, of every subsample (H,).

    The subsamples hold as many samples of a class, so that one stack of small Gram matrices is all of them."""
    centred, indicators = probe.matrix.centred, subsamples.indicators(probe.size)
    means = (indicators.T @ centred) / indicators.sum(axis=0)[:, None]
    crossed, squares = centred @ means.T, np.einsum("hd,hd->h", means, means)
    total = np.zeros(len(subsamples))
    for members in probe.target.members:
        inside = indicators[members].T > 0
        count = int(inside[0].sum())
        own = np.nonzero(inside)[1].reshape(len(subsamples), count)
        if count < centred.shape[1]:
            rows = centred[members]
            grams = (rows @ rows.T)[own[:, :, None], own[:, None, :]]
            shift = np.take_along_axis(crossed[members].T, own, axis=1)
            grams += squares[:, None, None] - shift[:, :, None] - shift[:, None, :]
        else:
            apart = [centred[members[kept]] - mean for kept, mean in zip(own, means, strict=True)]
            grams = np.array([rows.T @ rows for rows in apart])
        rates = grams / (count * EPS) + np.eye(grams.shape[1])
        total += np.log(np.linalg.cholesky(rates).diagonal(axis1=1, axis2=2)).sum(axis=1)
    return total / len(probe.target.counts)
