"""The label side of a score: re-indexed and sorted by class, once for all sources of a target."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from zoo_cli.errors import ContractError
from zoo_cli.metrics import pairs
from zoo_cli.metrics.caching import Cached

Array = NDArray[Any]

KEPT_POSITIONS = 1 << 18  # the replicates of a target keep theirs side by side
SPARSE = 1 << 16  # a range of labels from which on they are sorted, unless there are as many samples


@dataclass(frozen=True, eq=False)
class Classes(Cached):
    """The labels of a probe, re-indexed over the C classes that occur, with its rows sorted by class.

    `codes` (N,) in 0..C-1; `counts` (C,) samples per class; `order` (N,) sorts the rows by class, stably; `starts` (C,)
    is where each class begins in that order.
    """

    codes: Array
    counts: Array
    order: Array
    starts: Array

    @classmethod
    def of(cls, labels: Array) -> Self:
        """Re-index labels (N,), integers with gaps allowed. Raises ContractError for anything else."""
        if labels.ndim != 1:
            raise ContractError(f"labels have shape {labels.shape}", "a score takes labels of shape (N,)")
        if labels.dtype.kind not in "iu":
            raise ContractError(f"labels are {labels.dtype}, not integers")
        codes, counts = _count_classes(labels)
        # Of 8 or 16 bits numpy sorts codes by counting them.
        order = np.argsort(codes.astype(np.min_scalar_type(len(counts))), kind="stable")
        return cls(codes, counts, order, np.cumsum(counts) - counts)

    def take(self, rows: Array) -> Self:
        """The label side of the samples at rows (M,), indices."""
        return self.of(self.codes[rows])

    def permuted(self, order: Array) -> Self:
        """The same samples with permuted labels: sample i has the label of sample order[i], order (N,)."""
        return self.of(self.codes[order])

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def same_pairs(self) -> int:
        """Number of pairs i < j within one class."""
        return int((self.counts * (self.counts - 1) // 2).sum())

    @cached_property
    def sizes(self) -> Array:
        """The class sizes as float64 (C,)."""
        return self.counts.astype(np.float64)

    @cached_property
    def squared_gram(self) -> float:
        """The squared Frobenius norm of the Gram matrix of the centred one-hot labels."""
        count, squares = float(len(self)), self.sizes**2
        return float(squares.sum() - 2 * (self.sizes**3).sum() / count + (squares.sum() / count) ** 2)

    @cached_property
    def members(self) -> list[Array]:
        """The rows of each class, ascending."""
        return np.split(self.order, self.starts[1:])

    @property
    def same_positions(self) -> Array:
        """Positions of the same-class pairs in `pairs.similarities`: (same_pairs,), row by row in each class."""
        if self.same_pairs > KEPT_POSITIONS:
            return self._compute_positions()
        return self.cached("same positions", self._compute_positions)

    def _compute_positions(self) -> Array:
        rows = np.arange(len(self))
        begin = pairs.row_starts(len(self)) - rows - 1  # what to add to j for the pair (i, j)
        return np.concatenate(
            [begin[members[i]] + members[j] for members in self.members for i, j in [np.triu_indices(len(members), 1)]]
        )

    def sums(self, values: Array) -> Array:
        """The sum of the rows of each class, in float64: (N, D) to (C, D)."""
        return np.asarray(self.indicator @ values)

    def sums_of_blocks(self, blocks: Iterable[Array]) -> Array:
        """`sums` of values (N, D) that arrive as blocks of rows, in their order."""
        total: Array | None = None
        begin = 0
        for block in blocks:
            codes = self.codes[begin : begin + len(block)]
            places = codes, np.arange(len(block))
            part = sparse.csr_matrix((np.ones(len(block)), places), shape=(len(self.counts), len(block))) @ block
            total = part if total is None else total + part
            begin += len(block)
        assert total is not None, "a target has samples"
        return total

    @cached_property
    def indicator(self) -> sparse.csr_matrix:
        """The transposed one-hot labels (C, N). A product with them reads each row once and moves none."""
        ends = np.append(self.starts, len(self))
        return sparse.csr_matrix((np.ones(len(self)), self.order, ends), shape=(len(self.counts), len(self)))


def _count_classes(labels: Array) -> tuple[Array, Array]:
    """The codes (N,) of labels and the samples of each class (C,). Sorts only labels that are far apart."""
    if not len(labels) or int(labels.max()) - int(labels.min()) >= max(len(labels), SPARSE):
        _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
        return codes, counts
    offsets = labels.astype(np.int64) - labels.min().astype(np.int64)
    counts = np.bincount(offsets)
    present = counts > 0
    return (np.cumsum(present) - 1)[offsets], counts[present]
