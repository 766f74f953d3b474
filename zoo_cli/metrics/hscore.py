"""H-score: how much of the labels lies in the span of the features.

Bao et al. 2019, "An Information-Theoretic Approach to Transferability in Task Transfer Learning"; shrunk: Ibrahim,
Ponomareva and Mazumder 2021, "Newer is not always better: Rethinking transferability metrics", with the shrinkage of
Ledoit and Wolf 2004.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from zoo_cli.errors import Undefined
from zoo_cli.metrics.downdates import STABLE, Downdate, Part, Products
from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.matrix import PRECISE, Matrix, condition, well_conditioned
from zoo_cli.metrics.probe import Probe
from zoo_cli.metrics.subsamples import Subsamples, score_or_nan

Array = NDArray[Any]

KEPT_PRODUCTS = 1 << 24  # of two rows each, at once


def hscore(probe: Probe, *, shrunk: bool = False) -> float:
    """tr(cov(F)^+ cov(E[F | y])). Higher is better.

    Inputs (N, D): features. The squared length of the scaled one-hot labels within the span of the centred features;
    singular values below 8 max(N, D) eps of the largest count as 0. In [0, min(C - 1, D)]. With N - 1 independent
    directions, the usual case for D >= N, it is C - 1 for any features: `saturated`.
    `shrunk`: the covariance is shrunk towards a multiple of the identity, by the share that Ledoit and Wolf estimate;
    the score does not saturate then, and lies in about [0, C - 1].

    Raises Undefined: `too_few_examples`, `single_class`, `constant_features`.

    The published code inverts a singular covariance, where rounding noise decides the result.
    """
    probe.require_classes()
    return _shrunk(probe) if shrunk else _plain(probe)


def ceiling(probe: Probe, *, shrunk: bool = False) -> float:
    """min(C - 1, D); times N / (N - 1) if `shrunk`, whose two covariances have different denominators."""
    most = float(min(len(probe.target.counts) - 1, probe.matrix.width))
    return most * probe.size / (probe.size - 1) if shrunk else most


def _plain(probe: Probe) -> float:
    matrix, sizes = probe.matrix, probe.target.sizes
    # Where the Gram matrix is far from singular, rounding cannot pass for a direction.
    if matrix.tall:
        factor = well_conditioned(matrix.gram)
        if factor is not None:
            inner = linalg.solve_triangular(factor, probe.sums.T, lower=True, check_finite=False)
            return float(((inner**2).sum(axis=0) / sizes).sum())
    elif well_conditioned(matrix.gram + matrix.gram.trace() / probe.size**2) is not None:
        return float(len(sizes) - 1)
    return float(((probe.projected(matrix.exact_spectrum) ** 2).sum(axis=0) / sizes).sum())


def _shrunk(probe: Probe) -> float:
    matrix, sizes, count = probe.matrix, probe.target.sizes, float(probe.size)
    gram, lengths = matrix.gram, matrix.lengths
    mean = float(lengths.sum()) / count / matrix.width
    squares = float(np.vdot(gram, gram)) / count**2
    noise = max(0.0, (float(lengths @ lengths) / count - squares) / count)
    spread = squares - matrix.width * mean**2
    share = 1.0 if spread <= noise else noise / spread
    # By columns, or by rows with Woodbury's identity: the smaller of the two gives the same numbers.
    shrunk = gram * ((1 - share) / count)
    shrunk.flat[:: len(shrunk) + 1] += share * mean
    try:
        factor = linalg.cho_factor(shrunk.T, lower=True, overwrite_a=True, check_finite=False)
    except linalg.LinAlgError:
        raise Undefined("singular_covariance") from None
    if matrix.tall:
        inner = linalg.solve_triangular(factor[0], probe.sums.T, lower=True, check_finite=False)
        between = (inner**2).sum(axis=0)
    else:
        inner = linalg.cho_solve(factor, probe.class_gram.T, check_finite=False)
        between = probe.target.sums(inner).diagonal()
    return float((1 - share) * (between / sizes).sum() / (count - 1))


def on_subsamples(probe: Probe, subsamples: Subsamples, *, shrunk: bool = False) -> Array | None:
    """The scores of subsamples (H,), NaN where undefined, from one decomposition of the whole probe.

    None where each is computed by itself.
    """
    if shrunk:
        values = [_shrunk_part(probe, part) for part in subsamples.parts]
    else:
        products = whole_products(probe, subsamples)
        values = [_plain_part(probe, part, products, number) for number, part in enumerate(subsamples.parts)]
    if all(value is None for value in values):
        return None
    return np.array(
        [
            score_or_nan(hscore, probe.take(*part), shrunk=shrunk) if value is None else value
            for part, value in zip(subsamples.parts, values, strict=True)
        ]
    )


def on_permutations(probe: Probe, targets: Sequence[Classes], *, shrunk: bool = False) -> Array | None:
    """The scores (P,) under other labels of the same samples; None where each is computed by itself."""
    white = None if shrunk or not _is_defined(probe) else _whiten(probe.matrix)
    if white is None:
        return None
    return np.array([float(((target.sums(white) ** 2).sum(axis=1) / target.sizes).sum()) for target in targets])


def _is_defined(probe: Probe) -> bool:
    return probe.size > 2 and len(probe.target.counts) > 1 and not probe.matrix.constant


def _whiten(matrix: Matrix) -> Array | None:
    """The centred rows (N, D) scaled so that their Gram matrix is the identity; None where that is not exact."""

    def compute() -> Array | None:
        factor, share = condition(matrix.gram) if matrix.tall else (None, 0.0)
        if factor is None or share < PRECISE / STABLE:
            return None
        white = linalg.solve_triangular(factor, matrix.centred.T, lower=True, check_finite=False)
        return np.ascontiguousarray(white.T)

    return matrix.cached("white rows", compute)


def whole_products(probe: Probe, subsamples: Subsamples) -> Products | None:
    """The products of the white rows of the whole, if these take less time and not too much memory."""
    count, kept = probe.size, min(len(rows) for rows, _ in subsamples.parts)
    left_out = count - kept
    if not _is_defined(probe) or count**2 > min(KEPT_PRODUCTS, len(subsamples) * left_out**2):
        return None
    white = _whiten(probe.matrix) if probe.matrix.tall and left_out < probe.matrix.width else None
    complete = all(len(target.counts) == len(probe.target.counts) for _, target in subsamples.parts)
    if white is None or not complete:
        return None
    products = probe.matrix.cached("products of white rows", lambda: white @ white.T)
    return Products(products, probe.target.members, subsamples)


def _plain_part(probe: Probe, part: Part, products: Products | None, number: int) -> float | None:
    """The score of a subsample; None where it must be computed by itself."""
    rows, target = part
    if len(rows) < 3 or len(target.counts) == 1 or probe.matrix.constant:
        return None
    if not probe.matrix.tall:
        return float(len(target.counts) - 1) if _has_independent_rows(probe.matrix) else None
    white = _whiten(probe.matrix)
    if white is None or len(rows) <= probe.matrix.width:
        return None
    forms = Downdate(white, rows, target).quadratic_forms() if products is None else products.quadratic_forms(number)
    return None if forms is None else float((forms / target.sizes).sum())


def _has_independent_rows(matrix: Matrix) -> bool:
    """Whether the centred rows have N - 1 independent directions. Those of every subsample then have as many as they
    can, and no smaller share of the largest one."""
    return matrix.cached(
        "independent rows",
        lambda: condition(matrix.gram + matrix.gram.trace() / len(matrix) ** 2)[1] > PRECISE / STABLE,
    )


def _shrunk_part(probe: Probe, part: Part) -> float | None:
    """As `_plain_part`: the covariance of the subsample in the principal components of the whole."""
    rows, target = part
    if len(rows) < 3 or len(target.counts) == 1 or probe.matrix.constant:
        return None
    matrix, count = probe.matrix, float(len(rows))
    values = matrix.spectrum.values
    sub = Downdate(matrix.scores(), rows, target)
    lacking = sub.left_out
    lengths = (matrix.lengths - 2 * (sub.coordinates @ sub.mean) + sub.mean @ sub.mean)[rows]
    mean = float(lengths.sum()) / count / matrix.width
    products = lacking @ lacking.T
    # The squared norm of the Gram matrix, that of the whole less the products of what is left out.
    whole, cross = float(values @ values), float((lacking**2).sum(axis=0) @ values)
    squares = (whole - 2 * cross + float(np.vdot(products, products))) / count**2
    noise = max(0.0, (float(lengths @ lengths) / count - squares) / count)
    spread = squares - matrix.width * mean**2
    share = 1.0 if spread <= noise else noise / spread
    if share == 1.0:
        return 0.0
    penalty = share * mean * count / (1 - share)
    if penalty < PRECISE * values[0]:
        return None
    forms = sub.quadratic_forms(1 / (values + penalty))
    # The covariance is the Gram matrix times (1 - share) / count, plus the shrinkage.
    return None if forms is None else float(count * (forms / target.sizes).sum() / (count - 1))
