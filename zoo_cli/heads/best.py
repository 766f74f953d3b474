"""The answers of one head."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.heads.linear_head import Head
from zoo_cli.heads.pooled import Pool, check_pool, make_pool
from zoo_cli.heads.standardise import Features
from zoo_cli.heads.target_labels import TargetLabels

Array = NDArray[Any]


def best(sources: Sequence[Features], heads: Sequence[Head], weights: Array, targets: TargetLabels, /) -> Pool:
    """Answers of the head that weighs most, the first among equals; its weight in the result is 1.

    By default that is the head of least leave-one-out negative log-likelihood. Its leave-one-out accuracy is slightly
    too high, because it was chosen by the same labels.

    Raises UsageError without a source, ContractError for arrays that do not belong together.
    """
    chosen = int(np.argmax(check_pool(sources, heads, weights, targets)))
    features = sources[chosen]
    targets.check_rows(features.values)
    return make_pool(
        heads[chosen].answer(features.values),
        heads[chosen].leave_one_out,
        np.eye(len(sources))[chosen],
        targets,
        head=chosen,
    )
