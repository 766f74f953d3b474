"""What follows from the products of all rows of a matrix for many subsamples of them at once.

The centred rows of a subsample are those of the whole less their mean m in it. With K the products of the whole's
centred rows, b the indicator of k rows, u = K b and s = b'Kb, the products in the subsample are
K_ij - u_i/k - u_j/k + s/k^2. The sums over them are quadratic forms of the indicators of all subsamples, one matrix
(N, H).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from zoo_cli.metrics.matrix import Matrix
from zoo_cli.metrics.probe import Probe
from zoo_cli.metrics.subsamples import Subsamples, score_or_nan

Array = NDArray[Any]

ENTRIES = 1 << 20
"""Products that are kept at once."""


def score_by_sums(score: Callable[..., float], probe: Probe, subsamples: Subsamples, **params: Any) -> Array | None:
    """The scores of all subsamples (H,), NaN where undefined, by a function of these sums and the labels alone.

    None where the products of all rows cost more than the Gram matrices of the subsamples do.
    """
    sums = SubsampleSums.of(probe, subsamples)
    if not sums.save_time:
        return None
    return np.array([score_or_nan(score, part, **params) for part in sums.probes()])


@dataclass(frozen=True, eq=False)
class SubsampleSums:
    """The sums over H subsamples of the rows of a matrix (N, D). `classes`: the rows of each class of the whole."""

    matrix: Matrix
    classes: Sequence[Array]
    subsamples: Subsamples

    @classmethod
    def of(cls, probe: Probe, subsamples: Subsamples) -> Self:
        """Those of a probe, computed once for all metrics."""
        # What is kept holds on to its subsamples, so that no others have their id.
        key = f"sums {cls.__name__} {id(subsamples)}"
        return probe.matrix.cached(key, lambda: cls(probe.matrix, probe.target.members, subsamples))

    @property
    def save_time(self) -> bool:
        """Whether the products of all rows cost less than the Gram matrices of the subsamples' columns do."""
        count, width, number = len(self.matrix), self.matrix.width, len(self.subsamples)
        return not self.matrix.streamed and count * (width + 2 * number) < self.sizes.sum() * width**2 / count

    def probes(self) -> "Iterator[SubsampleProbe]":
        """Every subsample, for functions that read nothing of its inputs but these sums."""
        for number, (rows, target) in enumerate(self.subsamples.parts):
            yield SubsampleProbe(self.matrix.take(rows), target, whole=self, number=number)

    @property
    def indicators(self) -> Array:
        """Which rows belong to each subsample (N, H), float64."""
        return self.subsamples.indicators(len(self.matrix))

    @cached_property
    def sizes(self) -> Array:
        """k of each subsample (H,)."""
        return np.array([len(rows) for rows, _ in self.subsamples.parts], dtype=np.float64)

    @cached_property
    def _forms(self) -> tuple[Array, Array, Array]:
        """K b (N, H); the sums of K_ij^2 over the rows of each subsample (H,); the diagonal of K (N,).

        K is made a block of rows at a time.
        """
        centred, indicators = self.matrix.centred, self.indicators
        products, diagonal = np.empty_like(indicators), np.empty(len(centred))
        squares = np.zeros(len(self.sizes))
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
        """s = b'Kb of each subsample (H,)."""
        return np.asarray((self.indicators * self._forms[0]).sum(axis=0))

    @cached_property
    def squared_grams(self) -> Array:
        """The squared Frobenius norm of the Gram matrix of each subsample's centred rows (H,)."""
        products, squares, _ = self._forms
        crossed = (self.indicators * products**2).sum(axis=0)
        return np.asarray(squares - 2 * crossed / self.sizes + (self._totals / self.sizes) ** 2)

    @cached_property
    def squared_sums(self) -> Array:
        """The squared lengths of the class sums of each subsample's centred rows, added up (H,)."""
        products, indicators, squared = self._forms[0], self.indicators, np.zeros(len(self.sizes))
        length = self._totals / self.sizes**2
        for members in self.classes:
            rows, own = self.matrix.centred[members], indicators[members]
            counts, crossed = own.sum(axis=0), (own * products[members]).sum(axis=0)
            squared += (own * (rows @ rows.T @ own)).sum(axis=0) + counts * (counts * length - 2 * crossed / self.sizes)
        return squared

    def lengths(self, number: int) -> Array:
        """The squared lengths of the centred rows of a subsample (M_h,)."""
        products, _, diagonal = self._forms
        rows, size = self.subsamples.parts[number][0], self.sizes[number]
        return np.asarray(diagonal[rows] - 2 * products[rows, number] / size + self._totals[number] / size**2)

    def tilts(self, number: int) -> Array:
        """The products of the centred rows of a subsample with its mean row (M_h,)."""
        rows, size = self.subsamples.parts[number][0], self.sizes[number]
        # In terms of the whole: its centred rows less their mean m here, times its mean row plus m.
        tilt, within = self.matrix.tilt[rows], self._forms[0][rows, number] / size
        return np.asarray(tilt - tilt.mean() + within - within.mean())


@dataclass(frozen=True, eq=False, kw_only=True)
class SubsampleProbe(Probe):
    """A subsample by its number, whose sums come from those of all."""

    whole: SubsampleSums
    number: int

    @property
    def squared_gram(self) -> float:
        """See `SubsampleSums.squared_grams`."""
        return float(self.whole.squared_grams[self.number])

    @cached_property
    def squared_sums(self) -> float:
        """See `SubsampleSums.squared_sums`."""
        return float(self.whole.squared_sums[self.number])

    @cached_property
    def lengths(self) -> Array:
        """See `SubsampleSums.lengths`."""
        return self.whole.lengths(self.number)

    @cached_property
    def tilt(self) -> Array:
        """See `SubsampleSums.tilts`."""
        return self.whole.tilts(self.number)
