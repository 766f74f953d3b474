"""How training goes round several domains. Importing this loads neither numpy nor torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class RoundPlan:
    """Rounds of one step a domain, in an order of their own; `rounds` of them are an epoch.

    `sizes` (D,): the training images of each domain. In an epoch `per_domain` images of each are seen, at most all that
    a domain has without repeating one; a domain with fewer is drawn from with replacement.
    """

    sizes: tuple[int, ...]
    per_domain: int
    rounds: int
    seed: int

    @classmethod
    def of(cls, sizes: Sequence[int], per_domain: int, batch_size: int, seed: int) -> Self:
        """The plan for batches of at most `batch_size` images where that leaves no image alone in a batch."""
        # A single image has no variance, which batch norm needs.
        rounds = max(1, min(-(-per_domain // batch_size), per_domain // 2))
        return cls(tuple(sizes), per_domain, rounds, seed)

    @property
    def epoch_steps(self) -> int:
        """The steps of an epoch."""
        return self.rounds * len(self.sizes)

    def slots(self, number: int) -> tuple[int, int]:
        """The images of a domain that round `number` of an epoch takes: the first, and the one after the last.

        Rounds take equally many, up to one.
        """
        return number * self.per_domain // self.rounds, (number + 1) * self.per_domain // self.rounds
