"""RSA against a network trained on the target: agreement of two representations on which samples are alike.

Dwivedi and Roig 2019, as paper 001 (arXiv 2102.00084, eq. 9-11) uses it, with a small network as the reference. `rsa`
is the form of paper 000, which takes the labels in place of that network.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import Undefined
from zoo_cli.metrics import pairs
from zoo_cli.metrics.matrix import Matrix
from zoo_cli.metrics.probe import Probe

Array = NDArray[Any]


def rsa_ref(probe: Probe) -> float:
    """Spearman correlation, over the pairs of samples, of the distances in two networks. Higher is better.

    Inputs (N, D): features or probabilities of the source; the probe's `reference` (N, D'): features of a network that
    was trained on the target, on the same samples. The distance of two samples is 1 - Pearson of their rows; columns
    are not standardised, as the paper has it (PARC's published code standardises both sides). Equal distances have
    mid-ranks. In [-1, 1]. The labels take part only through the reference.

    Raises Undefined: `too_few_examples` below three samples; `constant_features` and `constant_reference` where all
    distances of a side are equal.
    """
    if probe.size < 3:
        raise Undefined("too_few_examples")
    assert probe.reference is not None, "stages.inputs gives what the table says it needs"
    ranks, deviations = [], []
    for side, reason in ((probe.matrix, "constant_features"), (probe.side("reference"), "constant_reference")):
        mid, deviation = _ranks(_levels(side))
        if deviation <= 0:
            raise Undefined(reason)
        ranks.append(mid)
        deviations.append(deviation)
    return float(ranks[0] @ ranks[1] / np.sqrt(deviations[0] * deviations[1]))


def _ranks(levels: Array) -> tuple[Array, float]:
    """Mid-ranks (M,) less their mean, and the sum of their squares: (M^3 - M - sum (t^3 - t)) / 12."""
    sizes = np.bincount(levels)
    middle = np.cumsum(sizes) - (sizes - 1) / 2 - (len(levels) + 1) / 2
    count, tied = float(len(levels)), sizes.astype(np.float64)
    return middle[levels], (count**3 - count - float((tied**3 - tied).sum())) / 12


def _levels(matrix: Matrix) -> Array:
    """Where each pair i < j stands among the distinct similarities, ascending: (N(N-1)/2,) integers, row by row.

    Kept with the matrix, as its own products are. As no column is standardised, the similarity of a pair does not
    depend on the other rows: for some rows of a larger matrix its levels serve again, with gaps.
    """
    held = vars(matrix)
    if "levels of raw rows" not in held:
        held["levels of raw rows"] = _of_whole(matrix) if matrix.whole else _of_rows(matrix.inputs)
    levels: Array = held["levels of raw rows"]
    return levels


def _of_whole(matrix: Matrix) -> Array:
    assert matrix.whole is not None
    whole, rows = matrix.whole
    if (np.diff(rows) <= 0).any():
        return _of_rows(matrix.inputs)
    first, second = np.triu_indices(len(rows), 1)
    begin = pairs.row_starts(len(whole))
    levels: Array = _levels(whole)[begin[rows[first]] + rows[second] - rows[first] - 1]
    return levels


def _of_rows(inputs: Array) -> Array:
    similar = pairs.similarities(_unit_rows(inputs))
    order = np.argsort(similar)
    ordered = similar[order]
    levels = np.empty(len(similar), np.int32)
    levels[order] = np.concatenate([[0], np.cumsum(np.diff(ordered) > pairs.tolerance(similar))])
    return levels


def _unit_rows(inputs: Array) -> Array:
    """Rows less their mean, of length 1; a row of equal entries becomes 0, so that it correlates with nothing."""
    rows = np.empty(inputs.shape, np.float64 if pairs.precise(inputs) else np.float32)
    for start in range(0, len(inputs), pairs.TILE):
        block = inputs[start : start + pairs.TILE].astype(np.float64)
        before = np.einsum("ij,ij->i", block, block)
        block -= block.mean(axis=1, keepdims=True)
        length = np.einsum("ij,ij->i", block, block)
        # What centring leaves of a row of equal entries is rounding, at most 1e-24 of its squared length.
        alive = length > 1e-24 * before
        rows[start : start + pairs.TILE] = block * np.where(alive, 1 / np.sqrt(np.where(alive, length, 1)), 0)[:, None]
    return rows
