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
        return float(pairs.below(self.ordered, np.sort(self.values[target.same_positions])).sum())

    def count_couples(self, target: Classes) -> tuple[float, Array]:
        """How many couples of a pair of one class and a less similar pair of two there are, equal ones counting half;
        and how many of them each sample belongs to (N,)."""
        same = np.sort(self.values[target.same_positions])
        other_below = pairs.below(self.ordered, same) - pairs.below(same, same)
        ranked = self.count <= RANKED
        couples = self._couples_of_pairs(target, same) if ranked else np.zeros(len(target))
        for i, near, far in self._pairs_by_sample(target):
            if not ranked:
                couples[i] = (pairs.below(self.ordered, near) - pairs.below(same, near)).sum()
                couples[i] += (len(same) - pairs.below(same, far)).sum()
            couples[i] -= pairs.below(far, near).sum()  # both pairs are the sample's
        return float(other_below.sum()), couples

    def _couples_of_pairs(self, target: Classes, same: Array) -> Array:
        """The couples of the pairs of each sample, added up (N,). `same`: the similarities within classes, ascending.

        One sort of all pairs ranks them among those of one class, in place of a search for each of them.
        """
        slack, count = pairs.tolerance(self.values), len(target)
        steps = np.bincount(np.searchsorted(self.ordered, same + slack, side="right"), minlength=self.count + 1)
        steps += np.bincount(np.searchsorted(self.ordered, same - slack, side="left"), minlength=self.count + 1)
        couples = np.empty(self.count)
        couples[np.argsort(self.values)] = len(same) - np.cumsum(steps[:-1]) / 2
        near = self.values[target.same_positions]
        couples[target.same_positions] = pairs.below(self.ordered, near) - pairs.below(same, near)
        total = np.zeros(count)
        for i, start in enumerate(pairs.row_starts(count)[:-1]):
            line = couples[start : start + count - i - 1]
            total[i] += line.sum()
            total[i + 1 :] += line
        return total

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
