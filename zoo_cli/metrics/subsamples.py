"""The subsamples of a target, on which a metric may be computed one by one or all at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import Undefined
from zoo_cli.metrics.caching import Cached
from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.probe import Probe

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Subsamples(Cached):
    """Subsamples of one target, the same for every source: with labels alone, what is computed of them is kept.

    `parts`: the rows of each, ascending indices, and its label side, that of the target at these rows; `share`: the
    variance of a score between subsamples over that between whole probes, see
    `ranking.uncertainty.half_sample_interval`.
    """

    parts: Sequence[tuple[Array, Classes]]
    share: float

    def __len__(self) -> int:
        return len(self.parts)

    def first(self, count: int) -> Self:
        """The first `count` of them, of which what is computed is kept as well; all, if there are fewer."""
        if count >= len(self):
            return self
        return self.cached(f"first {count}", lambda: type(self)(self.parts[:count], self.share))

    def indicators(self, size: int) -> Array:
        """Which of the `size` samples each subsample holds: (size, H) float64, 1 or 0."""
        return self.cached(f"indicators {size}", lambda: self._compute_indicators(size))

    def _compute_indicators(self, size: int) -> Array:
        indicators = np.zeros((size, len(self)))
        for column, (rows, _) in enumerate(self.parts):
            indicators[rows, column] = 1.0
        return indicators


def score_or_nan(function: Callable[..., float], probe: Probe, **params: Any) -> float:
    """The score of a probe, NaN where it is undefined."""
    try:
        return function(probe, **params)
    except Undefined:
        return float("nan")
