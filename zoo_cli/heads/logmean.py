"""Mean of the log-probabilities of all heads: their product of experts (Hinton 2002)."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.heads.likelihood import FLOOR, softmax_rows
from zoo_cli.heads.linear_head import Head
from zoo_cli.heads.pooled import Pool, check_pool, make_pool
from zoo_cli.heads.standardise import Features
from zoo_cli.heads.target_labels import TargetLabels

Array = NDArray[Any]


def logmean(sources: Sequence[Features], heads: Sequence[Head], weights: Array, targets: TargetLabels, /) -> Pool:
    """Answers proportional to exp(mean over the heads of log p), with p floored at 1e-9.

    All heads of positive weight count alike. `sources` is read once, one source at a time.

    Raises UsageError without a source, ContractError for arrays that do not belong together.
    """
    weights = check_pool(sources, heads, weights, targets)
    used = [int(position) for position in np.flatnonzero(weights)]

    def answers() -> Iterable[Array]:
        for position in used:
            features = sources[position]
            targets.check_rows(features.values)
            probabilities = heads[position].answer(features.values)
            del features  # before the next one is loaded
            yield probabilities

    return make_pool(
        mean_logs(answers(), targets.present),
        mean_logs((heads[position].leave_one_out for position in used), targets.present),
        weights,
        targets,
    )


def mean_logs(answers: Iterable[Array], present: Array) -> Array:
    """Probabilities (M, C) from those of several heads (M, C) each, 0 for classes that are not `present` (P,)."""
    total: Array | None = None
    count = 0
    classes = 0
    for probabilities in answers:
        logs = np.log(np.maximum(probabilities[:, present], FLOOR))
        total = logs if total is None else total + logs
        count, classes = count + 1, probabilities.shape[1]
    assert total is not None
    result = np.zeros((len(total), classes))
    result[:, present] = softmax_rows(total / count)
    return result
