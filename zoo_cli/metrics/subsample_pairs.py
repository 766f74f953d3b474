"""Similarities of all pairs within each of many subsamples, from moments that are computed for all of them at once.

Every subsample is standardised by itself, so that its products of rows are its own; the means and deviations of its
columns, and the means and lengths of its rows, are products of all rows with the indicators of all subsamples.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas

from zoo_cli.metrics import pairs
from zoo_cli.metrics.matrix import Matrix
from zoo_cli.metrics.subsamples import Subsamples

Array = NDArray[Any]

TILE = 64  # rows that are standardised together, so that they stay in the cache
# A variance is a difference of sums. Where it is a smaller share of them than this, rounding would show, and the
# subsample is standardised from its own rows.
COLUMN_SHARE = 1e-4
ROW_SHARE = 1e-2


@dataclass(frozen=True, eq=False)
class SubsamplePairs:
    """The similarities of all pairs i < j of each subsample of a matrix, row by row, as `Matrix.pairs` has them.

    Iterating overwrites the last ones.
    """

    matrix: Matrix
    subsamples: Subsamples

    @property
    def are_small(self) -> bool:
        """Whether the pairs of every subsample are kept, in float64: see `pairs.small`."""
        largest, width = max(len(rows) for rows, _ in self.subsamples.parts), self.matrix.width
        narrow = largest <= pairs.FLOAT64_ROWS or width < pairs.FLOAT64_WIDTH
        return narrow and pairs.fit_in_memory(largest, width) and not self.matrix.streamed

    def __iter__(self) -> Iterator[Array]:
        unit, products, values = np.empty((0, 0)), np.empty((0, 0)), np.empty(0)
        for number, (rows, _) in enumerate(self.subsamples.parts):
            if len(unit) != len(rows):
                unit = np.empty((len(rows), self.matrix.width))
                values = np.empty(len(rows) * (len(rows) - 1) // 2)
                products = np.empty((len(rows), len(rows)), order="F")
            self._standardise(number, unit)
            if len(rows) > pairs.WHOLE:
                yield pairs.similarities(unit)
                continue
            # Half of the product, without a copy of it to the other half.
            products = blas.dsyrk(1.0, unit.T, c=products, trans=1, lower=1, overwrite_c=1)
            yield products.T.take(pairs.triangle(len(rows)), out=values, mode="clip")

    @cached_property
    def _columns(self) -> tuple[Array, Array, Array]:
        """The mean of each column in each subsample, less that of the whole, and one over its deviation, 0 where it is
        constant, both (H, D); and whether all of a subsample's are exact (H,)."""
        centred, indicators = self.matrix.centred, self.subsamples.indicators(len(self.matrix))
        sizes = indicators.sum(axis=0)[:, None]
        means = indicators.T @ centred / sizes
        squares = indicators.T @ centred**2 / sizes
        variances = squares - means**2
        unsure = variances <= COLUMN_SHARE * squares
        scales = 1 / np.sqrt(np.where(unsure, 1.0, variances))
        scales[unsure] = 0.0
        inputs, exact = self.matrix.inputs, np.ones(len(sizes), dtype=bool)
        for number, (rows, _) in enumerate(self.subsamples.parts):
            columns = inputs[rows][:, unsure[number]] if unsure[number].any() else inputs[:0]
            exact[number] = bool((columns == columns[:1]).all())
        return means, scales, exact

    @cached_property
    def _rows(self) -> tuple[Array, Array, Array]:
        """The mean of each standardised row, and one over its length about that mean, of each subsample: (N, H), those
        of its own rows count; and whether the latter are exact (N, H)."""
        centred, (means, scales, _) = self.matrix.centred, self._columns
        shifts = means * scales
        row_means = (centred @ scales.T - shifts.sum(axis=1)) / self.matrix.width
        before = centred**2 @ (scales**2).T - 2 * (centred @ (shifts * scales).T) + (shifts**2).sum(axis=1)
        squares = before - self.matrix.width * row_means**2
        exact = squares > ROW_SHARE * before
        return row_means, 1 / np.sqrt(np.where(exact, squares, 1.0)), exact

    def _standardise(self, number: int, unit: Array) -> None:
        """Write the rows of a subsample, as `pairs.unit_rows` makes them, to unit (M, D)."""
        rows = self.subsamples.parts[number][0]
        (means, scales, exact_columns), (row_means, inverse_lengths, exact_rows) = self._columns, self._rows
        if not exact_columns[number] or not exact_rows[rows, number].all():
            unit[:] = pairs.unit_rows(self.matrix.inputs[rows])
            return
        for start in range(0, len(rows), TILE):
            own = rows[start : start + TILE]
            block = self.matrix.centred.take(own, axis=0, out=unit[start : start + TILE], mode="clip")
            block -= means[number]
            block *= scales[number]
            block -= row_means[own, number, None]
            block *= inverse_lengths[own, number, None]
