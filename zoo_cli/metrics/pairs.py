"""Similarities of all pairs of rows, and rank statistics of them by sorting alone.

Ranking a million distances by `argsort` costs ten times as much as sorting them. PARC needs the ranks of few values
among many: sort them all, then look up the few.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

TILE = 256
WHOLE = 1024  # up to this many rows are multiplied at once, which halves the work: the product is symmetric
# Products in float32 above this many rows: half the time and memory, and its rounding only swaps near-ties, which
# changes a rank correlation by less than 1e-6. Below, and for narrow inputs, float64 costs next to nothing.
FLOAT64_ROWS = 2048
FLOAT64_WIDTH = 64
# Similarities that differ by less are equal in exact arithmetic.
TIE = 1e-12
KEPT = 1 << 23  # pairs that are kept in memory whatever the width of the rows


def fit_in_memory(count: int, width: int) -> bool:
    """Whether the similarities of all pairs of rows (N, D) are kept, rather than counted: see `counted_pairs`."""
    return count * (count - 1) // 2 <= max(KEPT, 2 * count * width)


def unit_rows(inputs: Array, *, cosine: bool = False) -> Array:
    """Rows whose dot products are the similarities of the standardised inputs.

    inputs (N, D) of any precision. Columns are standardised (population deviation; a constant column becomes 0), then
    each row is centred, unless `cosine`, and scaled to length 1. A row without variance becomes 0, so that it
    correlates with nothing. Returns (N, D), float64 or float32, see `needs_float64`.
    """
    count, width = inputs.shape
    mean = inputs.mean(axis=0, dtype=np.float64)
    variance = np.zeros(width)
    for start in range(0, count, TILE):
        deviation = inputs[start : start + TILE] - mean
        variance += np.einsum("ij,ij->j", deviation, deviation)
    # Rounding of the mean gives a constant column a deviation, so constancy is read off the values.
    varies = (inputs.max(axis=0) != inputs.min(axis=0)) & (variance > 0)
    scale = np.where(varies, 1.0 / np.sqrt(np.where(varies, variance, 1.0) / count), 0.0)
    rows = np.empty((count, width), np.float64 if needs_float64(inputs) else np.float32)
    for start in range(0, count, TILE):
        block = (inputs[start : start + TILE] - mean) * scale
        rows[start : start + TILE] = scale_to_unit(block, centre=not cosine)
    return rows


def scale_to_unit(rows: Array, *, centre: bool) -> Array:
    """Rows (N, D) float64, with `centre` less their mean, scaled in place to length 1; a row without variance is 0."""
    before = np.einsum("ij,ij->i", rows, rows)
    if centre:
        rows -= rows.mean(axis=1, keepdims=True)
    length = np.einsum("ij,ij->i", rows, rows)
    # Centring a row of equal entries leaves rounding, at most 1e-24 of its squared length.
    varies = length > 1e-24 * before
    rows *= np.where(varies, 1.0 / np.sqrt(np.where(varies, length, 1.0)), 0.0)[:, None]
    return rows


def needs_float64(inputs: Array) -> bool:
    """Whether the products of these rows (N, D) are computed in float64: always for small inputs and repeated rows.

    Equal rows have equal similarities to every other row, and rounding in float32 would break those ties.
    """
    return small(inputs) or _has_repeated_rows(inputs)


def small(inputs: Array) -> bool:
    """Whether rows (N, D) are too few or too narrow for float32 to save time."""
    return len(inputs) <= FLOAT64_ROWS or inputs.shape[1] < FLOAT64_WIDTH


def similarities(rows: Array) -> Array:
    """Dot products of all pairs i < j of rows (N, D), row by row: (N(N-1)/2,), in the precision of the rows."""
    count = len(rows)
    if count <= WHOLE:
        return (rows @ rows.T).take(triangle(count), mode="clip")
    values = np.empty(count * (count - 1) // 2, rows.dtype)
    filled = 0
    for start in range(0, count, TILE):
        for line, products in enumerate(rows[start : start + TILE] @ rows[start:].T):
            size = count - start - line - 1
            values[filled : filled + size] = products[line + 1 :]
            filled += size
    return values


@lru_cache(maxsize=4)
def triangle(count: int) -> Array:
    """The flat positions of the pairs i < j in a square, row by row."""
    return np.flatnonzero(np.triu(np.ones((count, count), dtype=bool), 1))


def square(values: Array, count: int) -> Array:
    """The values (M,) of the pairs i < j, row by row, as a symmetric matrix (count, count) with diagonal 0."""
    matrix = np.zeros((count, count), values.dtype)
    matrix.ravel()[triangle(count)] = values
    matrix += matrix.T
    return matrix


def row_starts(count: int) -> Array:
    """Where the pairs (i, i+1), (i, i+2), … of each row i begin in `similarities`: (N,)."""
    rows = np.arange(count)
    return rows * (2 * count - rows - 1) // 2


def tolerance(values: Array) -> float:
    """By how much equal similarities may differ by rounding: TIE in float64; float32 does not resolve it."""
    return TIE if values.dtype == np.float64 else 0.0


def below(ordered: Array, values: Array) -> Array:
    """How many of `ordered` (M,), ascending, lie below each of values (L,), equal ones counting half: (L,) float64."""
    slack = tolerance(ordered)
    low, high = (values - slack, values + slack) if slack else (values, values)
    left = np.searchsorted(ordered, low, side="left")
    right = np.searchsorted(ordered, high, side="right")
    return (left + right) * 0.5


def rank_variance(ordered: Array) -> float:
    """Sum of squared deviations of the mid-ranks of ordered values (M,), ascending: (M^3 - M - sum (t^3 - t)) / 12.

    t runs over the sizes of the groups of equal values. 0 where all values are equal.
    """
    count, slack, step = len(ordered), tolerance(ordered), 1 << 14
    tied, begin = 0.0, 0
    for start in range(0, count - 1, step):
        chunk = ordered[start : start + step + 1]
        apart = chunk[1:] - chunk[:-1] > slack
        if apart.all():  # nearly always: no ties
            size = float(start + 1 - begin)
            tied += size**3 - size
            begin = start + len(apart)
            continue
        edges = np.flatnonzero(apart) + start + 1
        if len(edges):
            sizes = np.diff(edges, prepend=begin).astype(np.float64)
            tied += float(sizes @ (sizes * sizes) - sizes.sum())
            begin = int(edges[-1])
    last = float(count - begin)
    return (float(count) ** 3 - float(count) - tied - (last**3 - last)) / 12.0


def _has_repeated_rows(inputs: Array) -> bool:
    # An irrational mix of its entries is a key of each row, so that few rows are compared entry by entry.
    mix = np.sqrt(np.arange(2.0, inputs.shape[1] + 2.0))
    keys = np.concatenate([inputs[start : start + TILE] @ mix for start in range(0, len(inputs), TILE)])
    order = np.argsort(keys)
    gaps = np.diff(keys[order])
    near = np.flatnonzero(gaps <= 1e-12 * np.abs(keys).max())
    return any(np.array_equal(inputs[order[i]], inputs[order[i + 1]]) for i in near)
