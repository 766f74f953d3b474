"""Weights read from a file."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import ContractError

Array = NDArray[Any]

SHAPE = 'expected {"sources": [{"source": NAME, "weight": NUMBER}, …]}'

ROUNDING = 1e-15
"""How far the sum of weights may be from 1 for each source of them."""


def file(
    _scores: Array,
    names: Sequence[str],
    _zero_means_none: bool,
    /,
    *,
    weights: Mapping[str, Any],
) -> Array:
    """Weights (S,), sum 1, in the order of `names`, from a parsed weights.json, renormalised unless they sum to 1.

    `weights`: an object with `sources`, a list of objects with `source` and `weight`; other keys are ignored. Scores
    are ignored too: a source without a score may have a weight.

    Raises ContractError for a weight that is not a number, negative or not finite, for a source that is unknown,
    missing or listed twice, each named, and where all weights are 0.
    """
    rows = weights.get("sources") if isinstance(weights, Mapping) else None
    if not isinstance(rows, list) or not all(_is_row(row) for row in rows):
        raise ContractError("the weights file has the wrong structure", SHAPE)
    weight_of: dict[str, float] = {}
    for row in rows:
        name = row["source"]
        if not isinstance(name, str):
            raise ContractError(f"the weights file names a source {name!r}, which is not a string", SHAPE)
        if name in weight_of:
            raise ContractError(f'the weights file lists source "{name}" twice')
        weight_of[name] = _parse_weight(row["weight"], name)
    if unknown := [name for name in weight_of if name not in set(names)]:
        raise ContractError(
            f'the weights file has a source "{unknown[0]}" that is not used here', f"sources: {', '.join(names)}"
        )
    if missing := [name for name in names if name not in weight_of]:
        raise ContractError(
            f'the weights file has no weight for source "{missing[0]}"', "add one; 0 leaves the source out"
        )
    result = np.array([weight_of[name] for name in names], dtype=np.float64)
    if not result.any():
        raise ContractError("all weights in the weights file are 0", "at least one must be positive")
    # Divided by the largest first, so that the sum of large weights does not overflow.
    scaled = result / result.max()
    total = float(scaled.sum()) * float(result.max())
    if abs(total - 1) <= ROUNDING * len(result):
        return result  # zoo's own export reads back as the same numbers
    return np.asarray(scaled / scaled.sum())


def _is_row(row: Any) -> bool:
    return isinstance(row, Mapping) and "source" in row and "weight" in row


def _parse_weight(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ContractError(f'the weight of source "{name}" is {value!r}, which is not a number', SHAPE)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or number < 0:
        raise ContractError(f'the weight of source "{name}" is {number:g}', "weights are finite and at least 0")
    return number
