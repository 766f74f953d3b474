"""Heads for all sources, their weights, and their pool: from arrays to answers."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from zoo_cli.errors import UsageError
from zoo_cli.heads.likelihood import check_options
from zoo_cli.heads.linear_head import Head
from zoo_cli.heads.pool_weights import weigh_heads
from zoo_cli.heads.pooled import Pool
from zoo_cli.heads.spread import check_spread
from zoo_cli.heads.standardise import Features
from zoo_cli.heads.target_labels import TargetLabels
from zoo_cli.specs import Method

Array = NDArray[Any]


def check_parameters(method: Method) -> None:
    """Raise UsageError for a parameter of a head or pool that is out of range, before there are any arrays.

    Parameters of one name mean the same in every head and pool.
    """
    for name in {"lam", "T"} & method.params.keys():
        check_options(name, method.params[name], ())
    check_spread(method.params.get("k", 1), method.params.get("a", 0.5))


def fit_heads(head: Method, sources: Sequence[Features], targets: TargetLabels) -> list[Head]:
    """One head a source, by a resolved spec of the table HEADS. Sources are read one at a time, in order.

    Raises UsageError without a source, and what the head raises.
    """
    if not len(sources):
        raise UsageError("no source to fit a head on", "extract one, or check which are excluded")
    return [head.function(sources[position], targets, **head.params) for position in range(len(sources))]


def pool_heads(
    pool: Method,
    sources: Sequence[Features],
    heads: Sequence[Head],
    targets: TargetLabels,
    *,
    weights: Array | None = None,
) -> Pool:
    """The pool of all sources, by a resolved spec of the table POOLS. `weights` (S,): by default those of
    `weigh_heads`.

    Raises UsageError without a source, and what the pool raises.
    """
    chosen = weigh_heads(heads) if weights is None else weights
    result: Pool = pool.function(sources, heads, chosen, targets, **pool.params)
    return result
