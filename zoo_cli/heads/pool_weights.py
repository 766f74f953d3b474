"""How much each source counts in a pool."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import UsageError
from zoo_cli.heads.linear_head import Head

Array = NDArray[Any]


def weigh_heads(heads: Sequence[Head], *, views: int = 1) -> Array:
    """Weights (S,), sum 1, proportional to exp(-sqrt(L) (nll - least nll)), L the number of labels.

    With more labels the differences are more certain, and the best head weighs more. All weigh equally where every
    class has one label, so that there is no nll. Raises UsageError without a head.
    """
    if not heads:
        raise UsageError("no source to pool", "extract one, or check which are excluded")
    losses = [head.nll for head in heads if head.nll is not None]
    if len(losses) < len(heads):
        return np.full(len(heads), 1 / len(heads))
    values = np.array(losses)
    weights = np.exp(-np.sqrt(len(heads[0].leave_one_out) / views) * (values - values.min()))
    return np.asarray(weights / weights.sum())
