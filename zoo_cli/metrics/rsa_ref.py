"""RSA against a network trained on the target: how far two representations agree on which samples are similar.

Dwivedi and Roig 2019, in the form of paper 001 (arXiv 2102.00084, eq. 9-11), with a small network as the reference.
`rsa` is the form of paper 000, with the labels in place of that network.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import Undefined
from zoo_cli.metrics import pairs
from zoo_cli.metrics.counted_pairs import CountedPairs, below_levels
from zoo_cli.metrics.matrix import Matrix
from zoo_cli.metrics.probe import Probe

Array = NDArray[Any]


def rsa_ref(probe: Probe) -> float:
    """Spearman correlation, over the pairs of samples, of the distances in two networks. Higher is better.

    Inputs (N, D): features or probabilities of the source; the probe's `reference` (N, D'): features of a network
    trained on the target, for the same samples. The distance of two samples is 1 - Pearson of their rows; columns are
    not standardised, as in the paper (PARC's published code standardises both sides). Equal distances have mid-ranks.
    In [-1, 1]. The labels matter only through the reference.

    Raises Undefined: `too_few_examples` below three samples; `constant_features` and `constant_reference` where all
    distances of a side are equal.
    """
    if probe.size < 3:
        raise Undefined("too_few_examples")
    assert probe.reference is not None, "the table says that this metric needs it"
    sides = probe.matrix, probe.further_matrix("reference")
    kept = pairs.fit_in_memory(probe.size, max(matrix.width for matrix in sides))
    covariance, deviations = _rank_levels(*sides) if kept else _count_levels(*sides)
    for deviation, reason in zip(deviations, ("constant_features", "constant_reference"), strict=True):
        if deviation <= 0:
            raise Undefined(reason)
    return float(covariance / np.sqrt(deviations[0] * deviations[1]))


def _rank_levels(*sides: Matrix) -> tuple[float, list[float]]:
    """The covariance of the mid-ranks of two sides, times the number of pairs, and the same of each with itself."""
    (first, second), deviations = zip(*(_ranks(_levels(matrix)) for matrix in sides), strict=True)
    return float(first @ second), list(deviations)


def _count_levels(*sides: Matrix) -> tuple[float, list[float]]:
    """As `_rank_levels`, of more pairs than are kept in memory."""
    counted = [_count_pairs(matrix) for matrix in sides]
    # No pair at the last place, where a tile has none.
    first, second = (np.append(below_levels(side.counts) - side.count / 2, 0.0) for side in counted)
    tiles = zip(*(side.tiles() for side in counted), strict=True)
    covariance = sum(float(np.vdot(first[one], second[other])) for (_, _, one), (_, _, other) in tiles)
    return covariance, [side.variance for side in counted]


def _count_pairs(matrix: Matrix) -> CountedPairs:
    return matrix.cached("counted raw rows", lambda: CountedPairs(_unit_rows(matrix.inputs)))


def _ranks(levels: Array) -> tuple[Array, float]:
    """Mid-ranks (M,) less their mean, and the sum of their squares: (M^3 - M - sum (t^3 - t)) / 12."""
    sizes = np.bincount(levels)
    middle = np.cumsum(sizes) - (sizes - 1) / 2 - (len(levels) + 1) / 2
    count, tied = float(len(levels)), sizes.astype(np.float64)
    return middle[levels], (count**3 - count - float((tied**3 - tied).sum())) / 12


def _levels(matrix: Matrix) -> Array:
    """Position of each pair i < j among the distinct similarities, ascending: (N(N-1)/2,) integers, row by row.

    Kept with the matrix. As no column is standardised, the similarity of a pair does not depend on the other rows: for
    rows of a larger matrix the levels of that one are reused, with gaps.
    """
    return matrix.cached("levels of raw rows", lambda: _compute_levels(matrix))


def _compute_levels(matrix: Matrix) -> Array:
    if matrix.whole is None:
        return _sort_levels(matrix.inputs)
    whole, rows = matrix.whole
    if (np.diff(rows) <= 0).any() or not pairs.fit_in_memory(*whole.inputs.shape):
        return _sort_levels(matrix.inputs)
    first, second = np.triu_indices(len(rows), 1)
    begin = pairs.row_starts(len(whole))
    levels: Array = _levels(whole)[begin[rows[first]] + rows[second] - rows[first] - 1]
    return levels


def _sort_levels(inputs: Array) -> Array:
    similar = pairs.similarities(_unit_rows(inputs))
    order = np.argsort(similar)
    ordered = similar[order]
    levels = np.empty(len(similar), np.int32)
    levels[order] = np.concatenate([[0], np.cumsum(np.diff(ordered) > pairs.tolerance(similar))])
    return levels


def _unit_rows(inputs: Array) -> Array:
    """Rows less their mean, of length 1; a row of equal entries becomes 0, so that it correlates with nothing."""
    rows = np.empty(inputs.shape, np.float64 if pairs.needs_float64(inputs) else np.float32)
    for start in range(0, len(inputs), pairs.TILE):
        block = inputs[start : start + pairs.TILE].astype(np.float64)
        rows[start : start + pairs.TILE] = pairs.scale_to_unit(block, centre=True)
    return rows
