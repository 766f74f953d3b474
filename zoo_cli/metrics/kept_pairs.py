"""Rank statistics of pairs whose similarities are kept in memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.metrics import pairs
from zoo_cli.metrics.labels import Classes

Array = NDArray[Any]


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

    def separate_classes(self, target: Classes) -> tuple[Callable[[Array], Array], Callable[[Array], Array], float]:
        """How many pairs of two classes, and of one class, are less similar than a given one, equal ones counting half:
        two functions of similarities. Third, the first of them summed over the pairs of one class."""
        same = np.sort(self.values[target.same_positions])
        # Each same-class pair is removed from the sorted pairs once, also among equal ones.
        positions = np.searchsorted(self.ordered, same) + np.arange(len(same)) - np.searchsorted(same, same)
        other = np.delete(self.ordered, positions)
        return partial(pairs.below, other), partial(pairs.below, same), float(pairs.below(other, same).sum())

    def pairs_by_sample(self, target: Classes) -> Iterator[tuple[int, Array, Array]]:
        """For each sample the similarities of its pairs with its class, and with others, ascending."""
        values, count = self.values, len(target)
        begin = pairs.row_starts(count)
        for members in target.members:
            for position, i in enumerate(members):
                before, after = begin[:i] - np.arange(i) - 1 + i, slice(begin[i], begin[i] + count - i - 1)
                line = np.concatenate([values[before], values[after]])
                mates = np.delete(members, position)
                mates = mates - (mates > i)
                yield int(i), line[mates], np.sort(np.delete(line, mates))
