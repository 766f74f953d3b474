"""Label spreading over a graph (Zhou et al. 2004) by conjugate gradients."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from zoo_cli.heads.target_labels import TargetLabels

Array = NDArray[Any]

CLOSE = 1e-12
# The diagonal of the inverse converges with the square of the residual.
CLOSE_DIAGONAL = 1e-8
ROUNDS = 10_000
COLUMNS = 64


def normalise_graph(graph: sparse.csr_matrix) -> sparse.csr_matrix:
    """S = D^-1/2 W D^-1/2 of symmetric weights W (N, N), D the sums of its rows; a row without edges stays 0."""
    degrees = np.asarray(graph.sum(axis=1)).ravel()
    roots = np.zeros(len(degrees))
    np.divide(1.0, np.sqrt(degrees), out=roots, where=degrees > 0)
    scaling = sparse.diags(roots)
    return (scaling @ graph @ scaling).tocsr()


def spread_labels(normal: sparse.csr_matrix, targets: TargetLabels, a: float) -> tuple[Array, Array]:
    """Z Y / counts (N, P) with Z = (1 - a)(I - a S)^-1, and the same of each labelled row without its label (L, P).

    Y are the one-hot labels. Without its label, a row loses the diagonal of Z and its class has one label less:
    exact for a fixed graph. A class that loses its only label has mass 0.
    """
    sums = np.zeros((targets.count, len(targets.present)))
    sums[targets.rows] = targets.one_hot / targets.counts
    mass = (1 - a) * solve_spreading(normal, sums, a, CLOSE)
    np.maximum(mass, 0.0, out=mass)  # all exact values are positive or 0
    diagonal = (1 - a) * inverse_diagonal(normal, targets.rows, a)
    left_out = mass[targets.rows].copy()
    own, counts = np.arange(len(targets)), targets.counts[targets.codes].astype(np.float64)
    remaining = left_out[own, targets.codes] * counts - diagonal
    left_out[own, targets.codes] = np.maximum(remaining, 0.0) / np.maximum(counts - 1, 1)
    left_out[own[counts == 1], targets.codes[counts == 1]] = 0.0
    return mass, left_out


def inverse_diagonal(normal: sparse.csr_matrix, rows: Array, a: float) -> Array:
    """The diagonal of (I - a S)^-1 at these rows (L,), by blocks of columns."""
    diagonal = np.zeros(len(rows))
    for part, places in _column_blocks(rows):
        columns = np.zeros((normal.shape[0], len(places)))
        columns[places, np.arange(len(places))] = 1.0
        solution = solve_spreading(normal, columns, a, CLOSE_DIAGONAL)
        diagonal[part] = solution[places, np.arange(len(places))]
    return diagonal


def _column_blocks(rows: Array) -> Iterator[tuple[slice, Array]]:
    for start in range(0, len(rows), COLUMNS):
        part = slice(start, min(start + COLUMNS, len(rows)))
        yield part, rows[part]


def solve_spreading(normal: sparse.csr_matrix, columns: Array, a: float, close: float) -> Array:
    """X (N, Q) with (I - a S) X = columns (N, Q), to a residual of `close` of each column's length (Hestenes 1952)."""
    solution = np.zeros_like(columns)
    residual = columns.copy()
    direction = residual.copy()
    squares = np.einsum("ij,ij->j", residual, residual)
    enough = close**2 * squares
    for _ in range(ROUNDS):
        if (squares <= enough).all():
            break
        product = direction - a * (normal @ direction)
        curvature = np.einsum("ij,ij->j", direction, product)
        step = np.divide(squares, curvature, out=np.zeros_like(squares), where=curvature > 0)
        solution += step * direction
        residual -= step * product
        following = np.einsum("ij,ij->j", residual, residual)
        ratio = np.divide(following, squares, out=np.zeros_like(squares), where=squares > 0)
        direction *= ratio
        direction += residual
        squares = following
    return solution
