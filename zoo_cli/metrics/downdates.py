"""Quadratic forms of subsamples, from one decomposition of the whole probe.

A subsample lacks some rows of the whole. Its Gram matrix is that of the whole less the products of these rows, so that
its inverse follows from the inverse of the whole by Woodbury's identity, at the size of the rows that are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.matrix import condition
from zoo_cli.metrics.subsamples import Subsamples

Array = NDArray[Any]
Part = tuple[Array, Classes]
"""A subsample: its rows (M,), ascending, and its label side."""

STABLE = 1e-5
"""The reciprocal condition of what is left of the whole, from which its inverse is exact enough."""


@dataclass(frozen=True, eq=False)
class Downdate:
    """A subsample in coordinates (N, R) of the whole, which have mean 0.

    `left_out` (O, R): the rows that it lacks and, last, its mean times the root of its size: their products are what
    the Gram matrix of its centred rows lacks. `mean` (R,); `sums` (C, R): those of its centred rows, class by class.
    """

    coordinates: Array
    rows: Array
    target: Classes

    @cached_property
    def left_out(self) -> Array:
        """See above."""
        lacking = np.ones(len(self.coordinates), dtype=bool)
        lacking[self.rows] = False
        rows = self.coordinates[lacking]
        size = len(self.rows)
        return np.concatenate([rows, -rows.sum(axis=0, keepdims=True) / np.sqrt(size)])

    @property
    def mean(self) -> Array:
        """The mean row (R,)."""
        return np.asarray(self.left_out[-1] / np.sqrt(len(self.rows)))

    @cached_property
    def sums(self) -> Array:
        """The sums of the centred rows of each class (C, R)."""
        target, count = self.target, len(self.coordinates)
        ends = np.append(target.starts, len(target))
        places = self.rows[target.order]
        indicator = sparse.csr_matrix((np.ones(len(target)), places, ends), shape=(len(target.counts), count))
        return np.asarray(indicator @ self.coordinates - target.sizes[:, None] * self.mean)

    def quadratic_forms(self, weights: Array | None = None) -> Array | None:
        """s' (diag(1 / weights) - E'E)^-1 s of the sums s of each class (C,), E the rows left out.

        `weights` (R,) > 0, by default 1. None where what is left is too nearly singular.
        """
        lacking, sums = self.left_out, self.sums
        if weights is not None:
            lacking, sums = lacking * np.sqrt(weights), sums * np.sqrt(weights)
        by_rows = len(lacking) < lacking.shape[1]  # Woodbury's identity, where it is the smaller one
        rest = -(lacking @ lacking.T) if by_rows else -(lacking.T @ lacking)
        forms = _solve_forms(rest, sums @ lacking.T if by_rows else sums)
        if forms is None or not by_rows:
            return forms
        return np.asarray(forms + np.einsum("ij,ij->i", sums, sums))


@dataclass(frozen=True, eq=False)
class Products:
    """As the quadratic forms of `Downdate`, with weights 1, of all subsamples from the products (N, N) of all rows.

    `classes`: the rows of each class of the whole, all of which have rows in each subsample.
    """

    products: Array
    classes: Sequence[Array]
    subsamples: Subsamples

    @cached_property
    def _within(self) -> Array:
        """The products within each class of each subsample, added up (C, H)."""
        indicators = self.subsamples.indicators(len(self.products))
        own = [(self.products[np.ix_(rows, rows)] @ indicators[rows], indicators[rows]) for rows in self.classes]
        return np.array([np.einsum("ih,ih->h", sums, inside) for sums, inside in own])

    def quadratic_forms(self, number: int) -> Array | None:
        """Of the sums of each class (C,) in a subsample; None where what is left is too nearly singular."""
        rows, target = self.subsamples.parts[number]
        lacking, size = np.ones(len(self.products), dtype=bool), len(rows)
        lacking[rows] = False
        places = np.flatnonzero(lacking)
        left_out = self.products.take(places, axis=0)
        inner = left_out.take(places, axis=1)
        # With the mean of the kept rows, minus the sum of the others over their number, times the root of that number.
        border = -inner.sum(axis=1) / np.sqrt(size)
        corner = -border.sum() / np.sqrt(size)
        rest = np.empty((len(inner) + 1, len(inner) + 1))
        rest[:-1, :-1], rest[-1, :-1], rest[:-1, -1], rest[-1, -1] = -inner, -border, -border, -corner
        # The products of the class sums (C,) with the rows left out, with the mean, and with themselves.
        sums = np.add.reduceat(left_out.take(rows[target.order], axis=1), target.starts, axis=1).T
        means = -sums.sum(axis=1) / size
        forms = self._within[:, number] - 2 * target.sizes * means + target.sizes**2 * corner / size
        sums = sums - target.sizes[:, None] * (border / np.sqrt(size))
        means = means - target.sizes * corner / size
        solved = _solve_forms(rest, np.column_stack([sums, means * np.sqrt(size)]))
        return None if solved is None else np.asarray(forms + solved)


def _solve_forms(negative: Array, columns: Array) -> Array | None:
    """c' (I - G)^-1 c for the rows c of columns (C, M) and negative = -G (M, M), which is overwritten; None where I - G
    is too nearly singular."""
    negative.flat[:: len(negative) + 1] += 1.0
    factor, share = condition(negative)
    if factor is None or share < STABLE:
        return None
    inner = linalg.solve_triangular(factor, columns.T, lower=True, check_finite=False)
    return np.asarray(np.einsum("ij,ij->j", inner, inner))
