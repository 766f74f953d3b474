"""Pools that answer for each of V augmented views of the images, from heads fitted on all views of the labelled ones.

Arrays come in three kinds, each a sequence of sources that may load on access: `plain` (N, D), `labelled` (L V, D), the
views of the labelled images, those of one image one after another, and for each view its features (N, D). All of them
are standardised by the plain ones. The graph of `spread` is that of the plain images, so that views cost no further
search of neighbours; its class masses are those of the mean answers of `kernel` over the views.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import UsageError
from zoo_cli.heads.kernel import kernel
from zoo_cli.heads.likelihood import softmax_rows
from zoo_cli.heads.linear_head import Head
from zoo_cli.heads.logmean import mean_logs
from zoo_cli.heads.pool_weights import weigh_heads
from zoo_cli.heads.pooled import JointHead, Pool, check_pool, make_pool
from zoo_cli.heads.product import multiply_answers
from zoo_cli.heads.spread import Spreading, check_spread, spread_pooled
from zoo_cli.heads.standardise import Features
from zoo_cli.heads.target_labels import TargetLabels
from zoo_cli.specs import Method

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class ViewFeatures:
    """The features of S sources: plain (N, D_s), of all views of the labelled images (L V, D_s), and of each view."""

    plain: Sequence[Features]
    labelled: Sequence[Features]
    views: Sequence[Sequence[Features]]

    def __len__(self) -> int:
        """V."""
        return len(self.views)


def pool_views(pool: Method, features: ViewFeatures, heads: Sequence[Head], targets: TargetLabels) -> list[Pool]:
    """The pool of all sources on each view, V pools: probabilities (N, C), leave-one-out probabilities (L, C).

    `heads` were fitted on `features.labelled` with the labels `targets.repeat(V)`. Leave-one-out leaves out all views
    of an image.

    Raises UsageError for a pool that does not answer for views, and what the pool raises.
    """
    if pool.name not in VIEW_POOLS:
        raise UsageError(f"the pool {pool.name} does not answer for views", f"one of: {', '.join(VIEW_POOLS)}")
    weights = check_pool(
        features.labelled, heads, weigh_heads(heads, views=len(features)), targets.repeat(len(features))
    )
    return VIEW_POOLS[pool.name](features, heads, weights, targets, **pool.params)


def kernel_views(
    features: ViewFeatures, heads: Sequence[Head], weights: Array, targets: TargetLabels, **parameters: Any
) -> list[Pool]:
    """`kernel`, fitted on all views of the labelled images."""
    fitted = kernel(features.labelled, heads, weights, targets.repeat(len(features)), **parameters)
    assert fitted.joint is not None
    left_out = split_views(fitted.leave_one_out, len(features))
    return [
        make_pool(_answer(fitted.joint, sources, targets), left_out[view], weights, targets, joint=fitted.joint)
        for view, sources in enumerate(features.views)
    ]


def logmean_views(features: ViewFeatures, heads: Sequence[Head], weights: Array, targets: TargetLabels) -> list[Pool]:
    """`logmean` of the heads' answers for each view."""
    used = [int(position) for position in np.flatnonzero(weights)]
    pools = []
    for view, sources in enumerate(features.views):
        answers = (heads[position].answer(sources[position].values) for position in used)
        left_out = (split_views(heads[position].leave_one_out, len(features))[view] for position in used)
        pools.append(
            make_pool(mean_logs(answers, targets.present), mean_logs(left_out, targets.present), weights, targets)
        )
    return pools


def best_views(features: ViewFeatures, heads: Sequence[Head], weights: Array, targets: TargetLabels) -> list[Pool]:
    """`best`: the answers of the head that weighs most."""
    chosen = int(np.argmax(weights))
    left_out = split_views(heads[chosen].leave_one_out, len(features))
    return [
        make_pool(
            heads[chosen].answer(sources[chosen].values),
            left_out[view],
            np.eye(len(heads))[chosen],
            targets,
            head=chosen,
        )
        for view, sources in enumerate(features.views)
    ]


def spread_views(
    features: ViewFeatures,
    heads: Sequence[Head],
    weights: Array,
    targets: TargetLabels,
    *,
    k: int = 10,
    a: float = 0.9,
    seed: int = 0,
) -> list[Pool]:
    """`spread` on the graph of the plain images: the same answers for all views of an image."""
    ridges = kernel_views(features, heads, weights, targets)
    spreading = _spread(features, weights, targets, ridges, k=k, a=a, seed=seed)
    pool = make_pool(
        spreading.probabilities, spreading.leave_one_out, weights, targets, neighbours=k, notes=spreading.notes
    )
    return [pool] * len(features)


def product_views(
    features: ViewFeatures,
    heads: Sequence[Head],
    weights: Array,
    targets: TargetLabels,
    *,
    k: int = 10,
    a: float = 0.9,
    seed: int = 0,
) -> list[Pool]:
    """`product` of `spread` on the plain images and `kernel` on each view."""
    ridges = kernel_views(features, heads, weights, targets)
    spreading = _spread(features, weights, targets, ridges, k=k, a=a, seed=seed)
    return [
        make_pool(
            multiply_answers(spreading.probabilities, ridge.probabilities, targets),
            multiply_answers(spreading.leave_one_out, ridge.leave_one_out, targets),
            weights,
            targets,
            joint=ridge.joint,
            neighbours=k,
            notes=spreading.notes,
        )
        for ridge in ridges
    ]


VIEW_POOLS: Mapping[str, Callable[..., list[Pool]]] = {
    "product": product_views,
    "kernel": kernel_views,
    "logmean": logmean_views,
    "spread": spread_views,
    "best": best_views,
}
"""How a pool answers for views, by its name in POOLS."""


def split_views(values: Array, views: int) -> Array:
    """Values (L V, C), those of one image one after another, as (V, L, C)."""
    return values.reshape(-1, views, values.shape[1]).transpose(1, 0, 2)


def _spread(
    features: ViewFeatures,
    weights: Array,
    targets: TargetLabels,
    ridges: Sequence[Pool],
    *,
    k: int,
    a: float,
    seed: int,
) -> Spreading:
    check_spread(k, a)
    mean = np.mean([ridge.probabilities for ridge in ridges], axis=0)
    ridge = replace(ridges[0], probabilities=mean)
    return spread_pooled(features.plain, weights, targets, ridge, k=k, a=a, seed=seed)


def _answer(joint: JointHead, sources: Sequence[Features], targets: TargetLabels) -> Array:
    """The answers (N, C) of a joint head for sources, each loaded once."""
    logits = np.tile(joint.intercept, (targets.count, 1))
    for position, weights in enumerate(joint.weights):
        if weights.any():
            features = sources[position]
            targets.check_rows(features.values)
            for rows, values in features.blocks():
                logits[rows] += values @ weights
    return targets.widen(softmax_rows(logits, joint.temperature))
