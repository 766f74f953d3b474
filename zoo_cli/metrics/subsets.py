"""What follows from the products of all rows of a matrix for many subsets of them at once.

The centred rows of a subset are those of the whole less their mean m in it. With K the products of the whole's centred
rows, b the indicator of k rows, u = K b and s = b'Kb, the products in the subset are K_ij - u_i/k - u_j/k + s/k^2. The
sums over them are quadratic forms of the indicators of all subsets, one matrix (N, H).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from zoo_cli.metrics.caching import Cached

Array = NDArray[Any]

ENTRIES = 1 << 20
"""Products that are kept at once."""


class Whole(Protocol):
    """The `matrix.Matrix` whose rows are in the subsets."""

    @property
    def inputs(self) -> Array: ...
    @property
    def centred(self) -> Array: ...
    @property
    def tilt(self) -> Array: ...
    @property
    def streamed(self) -> bool: ...
    @property
    def width(self) -> int: ...
    def __len__(self) -> int: ...


@dataclass(frozen=True, eq=False)
class Subsets(Cached):
    """H subsets of the rows of a matrix (N, D), `rows` (M_h,) each. `classes`: the rows of each class of the whole."""

    matrix: Whole
    classes: Sequence[Array]
    rows: Sequence[Array]

    @cached_property
    def indicators(self) -> Array:
        """Which rows belong to each subset (N, H), float64."""
        indicators = np.zeros((len(self.matrix), len(self.rows)))
        for number, rows in enumerate(self.rows):
            indicators[rows, number] = 1.0
        return indicators

    @cached_property
    def share_products(self) -> bool:
        """Whether the products of all rows cost less than the Gram matrices of the subsets' columns do."""
        count, width, number = len(self.matrix), self.matrix.width, len(self.rows)
        return not self.matrix.streamed and count * (width + 2 * number) < sum(map(len, self.rows)) * width**2 / count

    @cached_property
    def sizes(self) -> Array:
        """k of each subset (H,)."""
        return np.array([len(rows) for rows in self.rows], dtype=np.float64)

    @cached_property
    def _forms(self) -> tuple[Array, Array, Array]:
        """K b (N, H); the sums of K_ij^2 over the rows of each subset (H,); the diagonal of K (N,).

        K is made a block of rows at a time.
        """
        centred, indicators = self.matrix.centred, self.indicators
        products, diagonal = np.empty_like(indicators), np.empty(len(centred))
        squares = np.zeros(len(self.rows))
        step = max(1, ENTRIES // len(centred))
        for start in range(0, len(centred), step):
            part = slice(start, start + step)
            block = centred[part] @ centred.T
            own, members = np.arange(len(block)), indicators[part]
            diagonal[part] = block[own, start + own]
            products[part] = block @ indicators
            np.multiply(block, block, out=block)
            squares += (members * (block @ indicators)).sum(axis=0)
        return products, squares, diagonal

    @cached_property
    def _totals(self) -> Array:
        """s = b'Kb of each subset (H,)."""
        return np.asarray((self.indicators * self._forms[0]).sum(axis=0))

    @cached_property
    def squared_grams(self) -> Array:
        """The squared Frobenius norm of the Gram matrix of each subset's centred rows (H,)."""
        products, squares, _ = self._forms
        crossed = (self.indicators * products**2).sum(axis=0)
        return np.asarray(squares - 2 * crossed / self.sizes + (self._totals / self.sizes) ** 2)

    @cached_property
    def squared_sums(self) -> Array:
        """The squared lengths of the class sums of each subset's centred rows, added up (H,)."""
        products, indicators, squared = self._forms[0], self.indicators, np.zeros(len(self.rows))
        length = self._totals / self.sizes**2
        for members in self.classes:
            rows, own = self.matrix.centred[members], indicators[members]
            counts, crossed = own.sum(axis=0), (own * products[members]).sum(axis=0)
            squared += (own * (rows @ rows.T @ own)).sum(axis=0) + counts * (counts * length - 2 * crossed / self.sizes)
        return squared

    def lengths(self, number: int) -> Array:
        """The squared lengths of the centred rows of a subset (M_h,)."""
        products, _, diagonal = self._forms
        rows, size = self.rows[number], self.sizes[number]
        return np.asarray(diagonal[rows] - 2 * products[rows, number] / size + self._totals[number] / size**2)

    def tilts(self, number: int) -> Array:
        """The products of the centred rows of a subset with its mean row (M_h,)."""
        rows, size = self.rows[number], self.sizes[number]
        # In terms of the whole: its centred rows less their mean m here, times its mean row plus m.
        tilt, within = self.matrix.tilt[rows], self._forms[0][rows, number] / size
        return np.asarray(tilt - tilt.mean() + within - within.mean())


@dataclass(frozen=True, eq=False)
class Subset:
    """One of the subsets of a matrix, by its number."""

    subsets: Subsets
    number: int
