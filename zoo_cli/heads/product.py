"""The product of the answers of `kernel` and `spread`: the default pool."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.heads.kernel import kernel
from zoo_cli.heads.likelihood import softmax_rows
from zoo_cli.heads.linear_head import Head
from zoo_cli.heads.pooled import Pool, check_pool, make_pool
from zoo_cli.heads.spread import check_spread, spread_pooled
from zoo_cli.heads.standardise import Features
from zoo_cli.heads.target_labels import TargetLabels

Array = NDArray[Any]

SPREAD_FLOOR, KERNEL_FLOOR = 1e-3, 1e-9


def product(
    sources: Sequence[Features],
    heads: Sequence[Head],
    weights: Array,
    targets: TargetLabels,
    /,
    *,
    k: int = 10,
    a: float = 0.9,
    seed: int = 0,
) -> Pool:
    """Answers softmax(log(spread + 1e-3) + log(kernel + 1e-9)): a class must convince both.

    Spreading follows clusters, which `kernel` cannot see; the floor keeps it from overruling where the clusters are not
    the classes. Parameters as for `spread`, errors too.
    """
    weights = check_pool(sources, heads, weights, targets)
    check_spread(k, a)
    ridge = kernel(sources, heads, weights, targets)
    spreading = spread_pooled(sources, weights, targets, ridge, k=k, a=a, seed=seed)
    return make_pool(
        multiply_answers(spreading.probabilities, ridge.probabilities, targets),
        multiply_answers(spreading.leave_one_out, ridge.leave_one_out, targets),
        weights,
        targets,
        joint=ridge.joint,
        neighbours=k,
        notes=spreading.notes,
    )


def multiply_answers(spreading: Array, ridge: Array, targets: TargetLabels) -> Array:
    """The product of the answers (M, C) of `spread` and `kernel`, floored and renormalised over the classes."""
    present = targets.present
    logits = np.log(spreading[:, present] + SPREAD_FLOOR) + np.log(ridge[:, present] + KERNEL_FLOOR)
    return targets.widen(softmax_rows(logits))
