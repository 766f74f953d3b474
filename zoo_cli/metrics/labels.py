"""The label side of a score: re-indexed, sorted by class, computed once for all sources of a target."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from zoo_cli.errors import ContractError

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Classes:
    """The labels of a probe, re-indexed over the C classes that occur, and its rows sorted by class.

    `codes` (N,) in 0..C-1; `counts` (C,); `order` (N,) puts rows of one class next to each other, in their given
    order; `starts` (C,) is where each class begins in that order.
    """

    codes: Array
    counts: Array
    order: Array
    starts: Array

    @classmethod
    def of(cls, labels: Array) -> "Classes":
        """Re-index labels (N,), integers with gaps allowed. Raises ContractError for anything else."""
        if labels.ndim != 1:
            raise ContractError(f"labels of shape {labels.shape} are no list", "a score takes labels (N,)")
        if labels.dtype.kind not in "iu":
            raise ContractError(f"labels are {labels.dtype}, not integers")
        _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
        return cls(codes, counts, np.argsort(codes, kind="stable"), np.cumsum(counts) - counts)

    def take(self, rows: Array) -> "Classes":
        """The label side of some of the samples, rows (M,): indices."""
        return Classes.of(self.codes[rows])

    def permuted(self, order: Array) -> "Classes":
        """The label side of the same samples with the labels of others, those of order (N,)."""
        return Classes.of(self.codes[order])

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def same_pairs(self) -> int:
        """Number of pairs i < j of one class."""
        return int((self.counts * (self.counts - 1) // 2).sum())

    @cached_property
    def sizes(self) -> Array:
        """The class sizes as float64 (C,)."""
        return self.counts.astype(np.float64)

    @cached_property
    def members(self) -> list[Array]:
        """The rows of each class, ascending."""
        return np.split(self.order, self.starts[1:])

    @cached_property
    def same_places(self) -> Array:
        """Where the same-class pairs stand among `pairs.similarities`: (same_pairs,), row by row in each class."""
        begin = _row_begins(len(self))
        return np.concatenate(
            [begin[rows[i]] + rows[j] for rows in self.members for i, j in [np.triu_indices(len(rows), 1)]]
        )

    def sums(self, values: Array) -> Array:
        """The sum of the rows of each class, in float64: (N, D) to (C, D)."""
        return np.asarray(self.indicator @ values)

    @cached_property
    def indicator(self) -> sparse.csr_matrix:
        """The one-hot labels, transposed (C, N). A product with it reads each row once and moves none."""
        ends = np.append(self.starts, len(self))
        return sparse.csr_matrix((np.ones(len(self)), self.order, ends), shape=(len(self.counts), len(self)))


def _row_begins(count: int) -> Array:
    """What to add to j to get the place of the pair (i, j), i < j, for each i: (N,)."""
    rows = np.arange(count)
    return rows * (2 * count - rows - 1) // 2 - rows - 1
