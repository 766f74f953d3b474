"""Quadratic forms of subsamples, from one decomposition of the whole probe.

A subsample lacks some rows of the whole. Its Gram matrix is that of the whole less the products of these rows, so that
its inverse follows from the inverse of the whole by Woodbury's identity, at the size of the rows that are left out.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.matrix import condition
from zoo_cli.metrics.subsamples import score_or_nan as score_or_nan

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
        rest.flat[:: len(rest) + 1] += 1.0
        factor, share = condition(rest)
        if factor is None or share < STABLE:
            return None
        columns = lacking @ sums.T if by_rows else sums.T
        inner = linalg.solve_triangular(factor, columns, lower=True, check_finite=False)
        forms = np.einsum("ij,ij->j", inner, inner)
        return np.asarray(forms + np.einsum("ij,ij->i", sums, sums) if by_rows else forms)
