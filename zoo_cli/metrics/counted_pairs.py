"""Rank statistics of more pairs than are kept in memory: their similarities on a fine grid, counted.

A similarity s stands for its level, t / (|t| + 1) in LEVELS steps, t = (s - mean) / deviation over the pairs of some
rows: half of the levels lie within one deviation, however narrow the distribution. Pairs of one level are tied. Sums
over pairs are sums over levels, in memory that does not grow with their number; the products of rows are computed again
in every pass.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.metrics import pairs
from zoo_cli.metrics.labels import Classes

Array = NDArray[Any]

HALF = 1 << 21
LEVELS = 2 * HALF + 1
"""The ties change a rank correlation by about 1 / LEVELS over the root of the number of same-class pairs."""
KEPT = 1 << 20  # same-class pairs whose similarities are kept; of fewer pairs, the ties of a grid would count more
ENTRIES = 1 << 21  # of a tile of products
GROUP = 1024  # rows of small classes that are multiplied together
SAMPLE = 256  # rows whose pairs have the mean and deviation


@dataclass(frozen=True, eq=False)
class CountedPairs:
    """The similarities of all pairs i < j of unit rows (N, D), as `pairs.unit_rows` makes them."""

    rows: Array

    @property
    def count(self) -> int:
        """The number of pairs."""
        return len(self.rows) * (len(self.rows) - 1) // 2

    @cached_property
    def counts(self) -> Array:
        """The number of pairs at each level (LEVELS,)."""
        counts = np.zeros(LEVELS, np.int64)
        for _, _, levels in self.tiles():
            counts += np.bincount(levels.ravel(), minlength=LEVELS + 1)[:LEVELS]
        return counts

    @cached_property
    def variance(self) -> float:
        """The sum of squared deviations of their mid-ranks; 0 if all are equal."""
        return rank_variance(self.counts)

    def tiles(self) -> Iterator[tuple[slice, slice, Array]]:
        """Every pair i < j once: the rows and columns of a tile, and the levels (R, W) of its pairs; elsewhere LEVELS,
        which is none."""
        yield from self._tiles(self.rows)

    def lines(self, chosen: Array) -> Iterator[tuple[Array, Array]]:
        """The chosen rows (M,), some at a time, and their levels (R, N) with all rows; LEVELS with the row itself."""
        step = max(1, ENTRIES // len(self.rows))
        for start in range(0, len(chosen), step):
            block = chosen[start : start + step]
            levels = self._levels(self.rows[block] @ self.rows.T)
            levels[np.arange(len(block)), block] = LEVELS
            yield block, levels

    def same_counts(self, target: Classes) -> Array:
        """The number of pairs of one class at each level (LEVELS,)."""
        counts = np.zeros(LEVELS, np.int64)
        for group in _group_classes(target):
            codes = target.codes[group]
            for rows, columns, levels in self._tiles(self.rows[group]):
                levels[codes[rows][:, None] != codes[columns]] = LEVELS
                counts += np.bincount(levels.ravel(), minlength=LEVELS + 1)[:LEVELS]
        return counts

    def same_below(self, target: Classes) -> float:
        """How many of all pairs are less similar than a pair of one class, itself and equal ones counting half, added
        up over the pairs of one class."""
        if target.same_pairs > KEPT:
            return float(self.same_counts(target) @ below_levels(self.counts))
        same = np.sort(np.concatenate([values for _, values in self._upper_values(target)]))
        return float(sum(pairs.below(np.sort(values), same).sum() for values, _ in self._upper_values(target)))

    def _upper_values(self, target: Classes) -> Iterator[tuple[Array, Array]]:
        """The similarities of some pairs at a time, and those of one class among them. Equal in every pass."""
        for rows, columns, products in self._products(self.rows):
            upper = np.arange(products.shape[1]) > np.arange(len(products))[:, None]
            same = upper & (target.codes[rows][:, None] == target.codes[columns])
            yield products[upper], products[same]

    def count_couples(self, target: Classes) -> tuple[float, Array]:
        """How many couples of a pair of one class and a less similar pair of two there are, equal ones counting half;
        and how many of them each sample belongs to (N,)."""
        same = self.same_counts(target)
        other_below, same_below = below_levels(self.counts - same), below_levels(same)
        couples = np.empty(len(self.rows))
        for i, near, far in self._pairs_by_sample(target):
            couples[i] = other_below[near].sum() + (target.same_pairs - same_below[far]).sum()
            couples[i] -= pairs.below(far, near).sum()  # both pairs are the sample's
        return float(same @ other_below), couples

    def _pairs_by_sample(self, target: Classes) -> Iterator[tuple[int, Array, Array]]:
        """For each sample the levels of its pairs with its class, and with others, ascending."""
        for block, levels in self.lines(np.arange(len(self.rows))):
            for i, line in zip(block.tolist(), levels, strict=True):
                same = target.codes == target.codes[i]
                far = np.sort(line[~same])
                same[i] = False
                yield i, line[same], far

    def _products(self, rows: Array) -> Iterator[tuple[slice, slice, Array]]:
        count = len(rows)
        start = 0
        while start < count:
            stop = min(count, start + max(1, ENTRIES // (count - start)))
            yield slice(start, stop), slice(start, count), rows[start:stop] @ rows[start:].T
            start = stop

    def _tiles(self, rows: Array) -> Iterator[tuple[slice, slice, Array]]:
        for block, columns, products in self._products(rows):
            levels = self._levels(products)
            size = len(levels)
            levels[:, :size][np.tril_indices(size)] = LEVELS
            yield block, columns, levels

    @cached_property
    def _centre(self) -> tuple[float, float]:
        sample = self.rows[:: -(-len(self.rows) // SAMPLE)]
        products = (sample @ sample.T)[np.triu_indices(len(sample), 1)].astype(np.float64)
        return float(products.mean()), max(float(products.std()), 1e-6)

    def _levels(self, similarities: Array) -> Array:
        """The levels of similarities, which are overwritten."""
        mean, deviation = (similarities.dtype.type(number) for number in self._centre)
        similarities -= mean
        steps = np.abs(similarities)
        steps += deviation
        np.divide(similarities, steps, out=steps)
        steps += 1
        steps *= HALF
        np.rint(steps, out=steps)
        return np.asarray(steps, dtype=np.intp)


def below_levels(counts: Array) -> Array:
    """How many of the pairs that are counted at each level (LEVELS,) lie below each level, those at it counting half:
    (LEVELS,) float64."""
    return np.asarray(np.cumsum(counts) - counts / 2)


def rank_variance(counts: Array) -> float:
    """As `pairs.rank_variance`, of values with these counts (LEVELS,)."""
    sizes = counts[counts > 0].astype(np.float64)
    count = float(sizes.sum())
    return (count**3 - count - float((sizes**3 - sizes).sum())) / 12.0


def _group_classes(target: Classes) -> Iterator[Array]:
    """The samples of whole classes, several small ones together. A class of one sample has no pair."""
    group: list[Array] = []
    size = 0
    for members in target.members:
        if len(members) < 2:
            continue
        if group and size + len(members) > GROUP:
            yield np.concatenate(group)
            group, size = [], 0
        group.append(members)
        size += len(members)
    if group:
        yield np.concatenate(group)
