"""Weights that somebody else has chosen."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import ContractError

Array = NDArray[Any]

SHAPE = 'it holds {"sources": [{"source": NAME, "weight": NUMBER}, …]}'


def file(
    _scores: Array,
    names: Sequence[str],
    _zero_means_none: bool,
    /,
    *,
    weights: Mapping[str, Any],
) -> Array:
    """Weights (S,), sum 1, in the order of `names`, from a parsed weights.json, renormalised.

    `weights`: an object with `sources`, a list of objects with `source` and `weight`; other keys are not looked at.
    The scores play no part: who gives weights has decided, also for a source without a score.

    Raises ContractError for a weight that is no number, negative or not finite, for a source that is unknown, missing
    or given twice, each named, and where all weights are 0.
    """
    rows = weights.get("sources") if isinstance(weights, Mapping) else None
    if not isinstance(rows, list) or not all(_is_row(row) for row in rows):
        raise ContractError("the file of weights has another form", SHAPE)
    given: dict[str, float] = {}
    for row in rows:
        name = row["source"]
        if not isinstance(name, str):
            raise ContractError(f"the file of weights names a source {name!r}, which is no text", SHAPE)
        if name in given:
            raise ContractError(f'the file of weights gives source "{name}" twice')
        given[name] = _number(row["weight"], name)
    if unknown := [name for name in given if name not in set(names)]:
        raise ContractError(
            f'the file of weights has a source "{unknown[0]}" that takes no part', f"take part: {', '.join(names)}"
        )
    if missing := [name for name in names if name not in given]:
        raise ContractError(
            f'the file of weights has none for source "{missing[0]}"', "add it, with weight 0 if need be"
        )
    found = np.array([given[name] for name in names], dtype=np.float64)
    if not found.any():
        raise ContractError("all weights in the file of weights are 0", "one of them must be above it")
    # Largest first, so that the sum of large weights does not overflow.
    found /= found.max()
    found /= found.sum()
    return found


def _is_row(row: Any) -> bool:
    return isinstance(row, Mapping) and "source" in row and "weight" in row


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ContractError(f'the weight of source "{name}" is {value!r}, which is no number', SHAPE)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or number < 0:
        raise ContractError(f'the weight of source "{name}" is {number:g}', "weights are at least 0")
    return number
