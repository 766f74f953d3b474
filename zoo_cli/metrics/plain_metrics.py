"""Both forms of a metric function: of a `Probe`, or of plain arrays."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from zoo_cli.metrics.probe import Probe

T = TypeVar("T")


def accept_probe(function: Callable[..., T]) -> Callable[..., T]:
    """A metric function that takes a `Probe`, made from one of either form.

    A function whose first parameters are `inputs, labels` is given the probe's inputs (N, D) and its labels (N,),
    integers from 0 to C - 1. Any other function takes the probe itself and is returned as it is.
    """
    if list(inspect.signature(function).parameters)[:2] != ["inputs", "labels"]:
        return function

    @functools.wraps(function)
    def score(probe: Probe, **params: Any) -> T:
        return function(probe.inputs, probe.target.codes, **params)

    return score
