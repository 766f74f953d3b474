"""Rank statistics of pairs whose similarities are kept in memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.metrics import pairs
from zoo_cli.metrics.labels import Classes

Array = NDArray[Any]

RANKED = 1 << 21  # pairs that are ranked at once, in some ten arrays of as many numbers


@dataclass(frozen=True, eq=False)
class KeptPairs:
    """The similarities of all pairs i < j of standardised rows, row by row (N(N-1)/2,)."""

    values: Array

    @cached_property
    def ordered(self) -> Array:
        """The same, ascending."""
        return np.sort(self.values)

    @cached_property
    def order(self) -> Array:
        """The positions of the values, ascending."""
        return np.argsort(self.values)

    @cached_property
    def apart(self) -> bool:
        """Whether no two values are equal."""
        return bool((np.diff(self.ordered) > pairs.tolerance(self.values)).all())

    @cached_property
    def ranks(self) -> Array:
        """How many of all pairs are less similar than each, itself and equal ones counting half (M,)."""
        ranks = np.empty(self.count)
        ranks[self.order] = np.arange(self.count) + 0.5 if self.apart else pairs.below(self.ordered, self.ordered)
        return ranks

    @property
    def count(self) -> int:
        """The number of pairs."""
        return len(self.values)

    @cached_property
    def variance(self) -> float:
        """The sum of squared deviations of their mid-ranks; 0 if all are equal."""
        return pairs.rank_variance(self.ordered)

    def same_below(self, target: Classes) -> float:
        """How many of all pairs are less similar than a pair of one class, itself and equal ones counting half, added
        up over the pairs of one class."""
        if "ranks" in vars(self):  # known already, for the jackknife: other labels are a sum of them
            return float(self.ranks[target.same_positions].sum())
        return float(pairs.below(self.ordered, np.sort(self.values[target.same_positions])).sum())

    def count_couples(self, target: Classes) -> tuple[float, Array]:
        """How many couples of a pair of one class and a less similar pair of two there are, equal ones counting half;
        and how many of them each sample belongs to (N,)."""
        ranked, among_same = self.count <= RANKED, float(target.same_pairs) ** 2 / 2
        # Couples of which both pairs are the sample's are in the couples of its pairs twice.
        if ranked and self.apart:
            other_below = float(self.ranks[target.same_positions].sum()) - among_same
            return other_below, self._couples_of_ranks(target) - self._couples_of_samples(target)
        same = np.sort(self.values[target.same_positions])
        couples = self._couples_of_pairs(target, same) if ranked else np.zeros(len(target))
        other_below = self.same_below(target) - among_same
        for i, near, far in self._pairs_by_sample(target):
            if not ranked:
                couples[i] = (pairs.below(self.ordered, near) - pairs.below(same, near)).sum()
                couples[i] += (len(same) - pairs.below(same, far)).sum()
            couples[i] -= pairs.below(far, near).sum()
        return other_below, couples

    def _couples_of_pairs(self, target: Classes, same: Array) -> Array:
        """The couples of the pairs of each sample, added up (N,). `same`: the similarities within classes, ascending.

        One sort of all pairs ranks them among those of one class, in place of a search for each of them.
        """
        couples, near = np.empty(self.count), target.same_positions
        slack = pairs.tolerance(self.values)
        steps = np.bincount(np.searchsorted(self.ordered, same + slack, side="right"), minlength=self.count + 1)
        steps += np.bincount(np.searchsorted(self.ordered, same - slack, side="left"), minlength=self.count + 1)
        couples[self.order] = len(same) - np.cumsum(steps[:-1]) / 2
        couples[near] = self.ranks[near] - pairs.below(same, self.values[near])
        return np.asarray(pairs.square(couples, len(target)).sum(axis=1))

    def _couples_of_ranks(self, target: Classes) -> Array:
        """As `_couples_of_pairs`, of pairs that no other equals: each has all before it, or after it, in order."""
        is_same = np.zeros(self.count, dtype=bool)
        is_same[target.same_positions] = True
        is_same = is_same[self.order]
        seen, couples = np.cumsum(is_same), np.empty(self.count)
        couples[self.order] = np.where(is_same, np.arange(1, self.count + 1) - seen, target.same_pairs - seen)
        return np.asarray(pairs.square(couples, len(target)).sum(axis=1))

    def _couples_of_samples(self, target: Classes) -> Array:
        """How many couples of a pair of one class and a less similar pair of two each sample has in its own pairs (N,).

        Of pairs that no other equals. In a row of ranks, in ascending order, a pair of one class has as many of two
        below it as its position, less the pairs of one class before it.
        """
        ranks = np.empty(self.count, np.int32)
        ranks[self.order] = np.arange(self.count, dtype=np.int32)
        ranks *= 2  # at most 2^22
        ranks[target.same_positions] += 1
        rows = pairs.square(ranks, len(target))
        rows.flat[:: len(target) + 1] = np.iinfo(np.int32).max - 1  # a sample with itself: last, and no pair
        rows.sort(axis=1)
        same = target.counts[target.codes] - 1
        return np.asarray((rows & 1) @ np.arange(len(target)) - same * (same - 1) / 2)

    def _pairs_by_sample(self, target: Classes) -> Iterator[tuple[int, Array, Array]]:
        """For each sample the similarities of its pairs with its class, and with others, ascending."""
        values, count = self.values, len(target)
        starts = pairs.row_starts(count)
        columns = starts - np.arange(count) - 1  # what to add to i for the pair of an earlier sample with i
        for members in target.members:
            for position, i in enumerate(members):
                line = np.empty(count, values.dtype)
                line[:i] = values[columns[:i] + i]
                line[i + 1 :] = values[starts[i] : starts[i] + count - i - 1]
                near = line[np.delete(members, position)]
                line[members] = np.inf
                line.sort()
                yield int(i), near, line[: count - len(members)]
