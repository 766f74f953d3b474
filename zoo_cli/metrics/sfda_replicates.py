"""The SFDA of many subsamples of a probe, or under many permuted labels, for regular features with N > D.

The arithmetic of `sfda.sfda` on one half of each symmetric matrix: what all of them share is the Gram matrix of the
probe, of which a subsample lacks some rows, and no moved sample is written out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import blas, lapack
from scipy.special import softmax

from zoo_cli.metrics.downdates import STABLE, Downdate, score_or_nan
from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.probe import Probe
from zoo_cli.metrics.sfda import MIN_SHRINKAGE, find_shares, find_unit, sfda, split_rows
from zoo_cli.metrics.subsamples import Subsamples

Array = NDArray[Any]

LEAST_WITHIN = 1e-8  # of the spread: below it, that within the classes is not exact as a difference


def on_subsamples(probe: Probe, subsamples: Subsamples) -> Array | None:
    """The scores of subsamples (H,), NaN where undefined; None where each is computed by itself."""
    if not _is_regular(probe):
        return None
    centred = probe.matrix.centred
    scores = np.full(len(subsamples), np.nan)
    memory = np.empty((max(len(rows) for rows, _ in subsamples.parts), probe.matrix.width))  # new pages cost time
    for i, (rows, target) in enumerate(subsamples.parts):
        score = None
        if len(rows) > probe.matrix.width:
            part = Downdate(centred, rows, target)
            own = np.take(centred, rows, axis=0, out=memory[: len(rows)], mode="clip")
            own -= part.mean
            score = _score(own, target, probe.matrix.gram, part.left_out, own)
        if score is None and not i:
            return None  # nor will the others share anything
        scores[i] = score_or_nan(sfda, probe.take(rows, target)) if score is None else score
    return scores


def on_permutations(probe: Probe, targets: Sequence[Classes]) -> Array | None:
    """The scores (P,) under other labels of the same samples, likewise."""
    if not _is_regular(probe):
        return None
    matrix, nothing = probe.matrix, np.empty((0, probe.matrix.width))
    memory = np.empty_like(matrix.centred)
    scores = [_score(matrix.centred, target, matrix.gram, nothing, memory) for target in targets]
    return np.array(
        [
            score_or_nan(sfda, probe.with_labels(target)) if score is None else score
            for target, score in zip(targets, scores, strict=True)
        ]
    )


def _is_regular(probe: Probe) -> bool:
    return probe.matrix.tall and not probe.matrix.streamed and not probe.matrix.constant


def _score(rows: Array, target: Classes, gram: Array, lacking: Array, memory: Array) -> float | None:
    """The SFDA of centred rows (N, D). None where rounding may be seen in it.

    The products of their columns are gram (D, D) less those of lacking (O, D). `memory` (N, D), which may be that of
    the rows, is overwritten.
    """
    if len(target.counts) < 2 or target.same_pairs == 0:
        return None
    sizes, codes = target.sizes, target.codes
    means = target.sums(rows) / sizes[:, None]
    outside = np.concatenate([lacking, means * np.sqrt(sizes)[:, None]])
    within = blas.dsyrk(-1.0, outside.T, beta=1.0, c=gram.T, lower=1)
    if within.trace() < LEAST_WITHIN * gram.trace():
        return None
    fit = _fit(within, means, target, None)
    if fit is None:
        return None
    kept = np.empty(len(rows))
    blocks = split_rows(len(rows), len(sizes))
    for block in blocks:
        shares = softmax(find_shares(rows[block] @ fit.directions + fit.offsets), axis=1)
        kept[block] = shares[np.arange(len(shares)), codes[block]]
    # Each sample is moved to kept * row + lost * others[code].
    lost = 1 - kept
    others = (means.sum(axis=0) - means) / (len(means) - 1)
    rows = np.multiply(rows, kept[:, None], out=memory)
    moved, crossed = target.sums(rows), _weighted_sums(rows, target, lost)
    share = np.bincount(codes, lost) / sizes
    weight = np.bincount(codes, lost**2) - sizes * share**2
    within = blas.dsyrk(1.0, rows.T, beta=0.0, c=within, lower=1, overwrite_c=1)
    within = blas.dsyrk(-1.0, (moved / np.sqrt(sizes)[:, None]).T, beta=1.0, c=within, lower=1, overwrite_c=1)
    beside = crossed - share[:, None] * moved + (weight / 2)[:, None] * others
    within = blas.dsyr2k(1.0, others.T, beside.T, beta=1.0, c=within, lower=1, overwrite_c=1)
    fit = _fit(within, moved / sizes[:, None] + share[:, None] * others, target, fit.share)
    if fit is None:
        return None
    right = 0.0
    for block in blocks:
        present, place = np.unique(codes[block], return_inverse=True)
        logits = rows[block] @ fit.directions
        logits += lost[block, None] * (others[present] @ fit.directions)[place]
        right += float(find_shares(logits + fit.offsets)[np.arange(len(logits)), codes[block]].sum())
    return right / len(rows)


@dataclass(frozen=True)
class _Fit:
    """As `sfda._Discriminant`."""

    share: float
    directions: Array
    offsets: Array


def _fit(within: Array, means: Array, target: Classes, share: float | None) -> _Fit | None:
    """The analysis from N times the covariance, within (D, D), and class means (C, D). None if it is nearly singular.

    The lower half of `within` is read and overwritten.
    """
    width, count = len(within), len(target)
    floor = float(within.trace()) / width
    largest = _find_largest(within)
    share = max(float(np.exp(-5 * largest / count)), MIN_SHRINKAGE) if share is None else share
    if share == 1.0:
        return None
    # Divided by (1 - share) / N, the shrunk covariance is this one plus a multiple of the identity.
    penalty = share * floor / (1 - share)
    places = np.arange(width)
    within[places, places] += penalty
    factor, failed = lapack.dpotrf(within, lower=1, clean=0, overwrite_a=1)
    if failed or lapack.dpocon(factor, largest + penalty, uplo="L")[0] < STABLE:
        return None
    directions, _ = lapack.dpotrs(factor, means.T, lower=1)
    directions *= count / (1 - share)
    offsets = np.log(target.sizes / count) - np.einsum("ij,ji->i", means, directions) / 2
    return _Fit(share, directions, offsets)


def _find_largest(matrix: Array) -> float:
    """The largest eigenvalue of a matrix (D, D), from its lower half, by the steps of `sfda`."""
    vector = other = blas.dsymv(1.0, matrix, np.ones(len(matrix)), lower=1)
    for _ in range(3):
        other = find_unit(blas.dsymv(1.0, matrix, vector, lower=1))
        vector = find_unit(blas.dsymv(1.0, matrix, other, lower=1))
    return float(vector @ blas.dsymv(1.0, matrix, other, lower=1))


def _weighted_sums(rows: Array, target: Classes, weights: Array) -> Array:
    indicator = target.indicator
    weighted = sparse.csr_matrix((weights[target.order], indicator.indices, indicator.indptr), shape=indicator.shape)
    return np.asarray(weighted @ rows)
