"""The features of one source for heads: standardised columns whose kernel has a mean diagonal of 1."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import ContractError

Array = NDArray[Any]

BLOCK = 1 << 20  # numbers in a block of rows, so that float64 copies stay in the cache
FLOOR = 1e-6  # of probabilities
CONSTANT = 1e-6  # a column whose standard deviation is below this share of its mean has only rounding errors of float32


@dataclass(frozen=True, eq=False)
class Features:
    """Stored values (N, D) of one source and how they are standardised: phi = (values - mean) * scale.

    `mean` (D,) float64; `scale` (D,) float64 is 1 / (standard deviation * sqrt(columns that are not constant)), and 0
    for a constant column. Over the N rows every column of phi has mean 0, and phi phi' has a mean diagonal of 1.
    """

    values: Array
    mean: Array
    scale: Array

    @classmethod
    def of(cls, values: Array) -> Self:
        """Standardise an embedding (N, D), or the logits of a sigmoid source, over all its rows.

        No labels are used. Raises ContractError unless the values are (N, D), real and finite.
        """
        check_values(values)
        # Shifted to about the mean first, so that one pass is exact however far from 0 the values lie.
        shift = values[next(blocks(*values.shape))].mean(axis=0, dtype=np.float64)
        sums, squares = np.zeros(len(shift)), np.zeros(len(shift))
        for rows in blocks(*values.shape):
            moved = values[rows] - shift
            sums += moved.sum(axis=0)
            squares += np.einsum("ij,ij->j", moved, moved)
        offset = sums / len(values)
        mean = shift + offset
        deviation = np.sqrt(np.maximum(squares / len(values) - offset**2, 0.0))
        varies = deviation > CONSTANT * np.abs(mean)
        scale = np.zeros(len(mean))
        scale[varies] = 1 / (deviation[varies] * np.sqrt(np.count_nonzero(varies)))
        return cls(values, mean, scale)

    @classmethod
    def of_probabilities(cls, probabilities: Array) -> Self:
        """Standardise the log-probabilities of a source's output (N, K), see `log_ratios`."""
        check_values(probabilities)
        return cls.of(log_ratios(probabilities))

    def standardise(self, values: Array) -> Array:
        """phi (M, D) float64 of further rows (M, D). Raises ContractError for another width or non-finite values."""
        check_values(values, width=len(self.mean))
        return np.asarray((values - self.mean) * self.scale)

    def take(self, rows: Array | slice) -> Array:
        """phi (M, D) float64 of the rows at these positions."""
        return np.asarray((self.values[rows] - self.mean) * self.scale)

    def project(self, weights: Array) -> Array:
        """phi @ weights (N, P) for weights (D, P): the scale goes into the weights, which is one pass less."""
        scaled = self.scale[:, None] * weights
        products = np.empty((len(self.values), weights.shape[1]))
        for rows in blocks(*self.values.shape):
            products[rows] = (self.values[rows] - self.mean) @ scaled
        return products

    def __len__(self) -> int:
        return len(self.values)

    @property
    def width(self) -> int:
        """D."""
        return len(self.mean)

    def blocks(self) -> Iterator[tuple[slice, Array]]:
        """Blocks of rows: their positions and phi (M, D) float64."""
        for rows in blocks(*self.values.shape):
            yield rows, self.take(rows)


def log_ratios(probabilities: Array) -> Array:
    """Log-probabilities (N, K), floored at 1e-6, less the row's mean, float64: they do not depend on the sum of a row.

    Raises ContractError for a negative value.
    """
    if (probabilities < 0).any():
        row = int(np.flatnonzero((probabilities < 0).any(axis=1))[0])
        raise ContractError(f"probabilities are negative in row {row}", "pass logits as they are")
    logs = np.log(np.maximum(probabilities, FLOOR, dtype=np.float64))
    return np.asarray(logs - logs.mean(axis=1, keepdims=True))


def blocks(count: int, width: int) -> Iterator[slice]:
    """Consecutive ranges of `count` rows, each of about BLOCK numbers if a row has `width`."""
    step = max(16, BLOCK // max(width, 1))
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def check_values(values: Array, *, width: int | None = None) -> None:
    """Raise ContractError unless values are (N, D), real and finite, and `width` columns wide if given."""
    if values.ndim != 2 or not values.size:
        raise ContractError(f"features have shape {values.shape}", "a head takes features of shape (N, D)")
    if width is not None and values.shape[1] != width:
        raise ContractError(f"features have {values.shape[1]} columns, and the head was fitted on {width}")
    if values.dtype.kind not in "fiu":
        raise ContractError(f"features are {values.dtype}, not real numbers")
    for rows in blocks(*values.shape):
        finite = np.isfinite(values[rows])
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            value = values[rows][row, column]
            raise ContractError(f"features are {value} in row {rows.start + row}, column {column}", "extract again")
