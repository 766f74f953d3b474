"""What every score asks of its arrays first: finite inputs, integer labels, more than one class."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import ContractError, Undefined

Array = NDArray[Any]


@dataclass(frozen=True)
class Classes:
    """The labels of a probe, re-indexed over the C classes that occur, and its rows sorted by class.

    `codes` (N,) in 0..C-1; `counts` (C,); `order` (N,) puts rows of one class next to each other, in their given
    order; `starts` (C,) is where each class begins in that order.
    """

    codes: Array
    counts: Array
    order: Array
    starts: Array

    @property
    def same_pairs(self) -> int:
        """Number of pairs i < j of one class."""
        return int((self.counts * (self.counts - 1) // 2).sum())

    def sums(self, values: Array) -> Array:
        """The sum of the rows of each class: (N, D) to (C, D)."""
        total: Array = np.add.reduceat(values[self.order], self.starts, axis=0)
        return total


def classes(inputs: Array, labels: Array) -> Classes:
    """Check the arrays of a score, inputs (N, D) and labels (N,) with gaps allowed, and re-index the labels.

    Raises ContractError for arrays that no score can read, naming row and column of a value that is not finite;
    Undefined `too_few_examples` below three rows, `single_class`, and `constant_features` where all rows are equal.
    """
    if inputs.ndim != 2 or labels.ndim != 1 or len(inputs) != len(labels):
        raise ContractError(
            f"inputs of shape {inputs.shape} and labels of shape {labels.shape} do not belong together",
            "a score takes inputs (N, D) and labels (N,)",
        )
    if inputs.dtype.kind not in "fiu":
        raise ContractError(f"inputs are {inputs.dtype}, not real numbers")
    if labels.dtype.kind not in "iu":
        raise ContractError(f"labels are {labels.dtype}, not integers")
    _check_finite(inputs)
    if len(labels) < 3:
        raise Undefined("too_few_examples")
    _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(counts) == 1:
        raise Undefined("single_class")
    # Stops at the first row that differs: no pass over the array in the usual case.
    if all(np.array_equal(inputs[0], row) for row in inputs[1:]):
        raise Undefined("constant_features")
    order = np.argsort(codes, kind="stable")
    return Classes(codes, counts, order, np.cumsum(counts) - counts)


def _check_finite(inputs: Array) -> None:
    with np.errstate(invalid="ignore", over="ignore"):
        # A sum is not finite where an entry is not; one that overflowed by itself is looked at entry by entry.
        suspect = np.flatnonzero(~np.isfinite(inputs.sum(axis=1, dtype=np.float64)))
    for row in suspect:
        columns = np.flatnonzero(~np.isfinite(inputs[row]))
        if len(columns):
            raise ContractError(
                f"inputs hold {inputs[row, columns[0]]} (row {row}, column {columns[0]})",
                "extract this sample again, or leave it out",
            )
