"""Which sources belong together in a set: chosen one by one, for as long as the next one adds more than its error."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import Undefined

Array = NDArray[Any]

Joined = Callable[[Array], float]
Interval = Callable[[float, Array], tuple[float | None, float | None]]


@dataclass(frozen=True)
class MemberPart:
    """What one source brings into a set: `whole` (N,), and the same of each half of the probe, None where it has none.

    Parts of several sources have their samples in one order.
    """

    whole: Array
    halves: tuple[Array | None, ...]


@dataclass(frozen=True)
class Step:
    """One more source in a set: the set's `score` with it, what it adds, and the 90 % interval of that, None where
    there is none. The first source adds to nothing: its `gain`, `low` and `high` are None."""

    source: str
    score: float
    gain: float | None = None
    low: float | None = None
    high: float | None = None


def member_part(function: Callable[[Any], Array], probe: Any, halves: Sequence[tuple[Array, Any]]) -> MemberPart:
    """A source's part, `function` of its probe (N,), and of the halves, the rows and label side of each.

    Raises Undefined where there is none of the whole probe.
    """
    whole = function(probe)
    found: list[Array | None] = []
    for rows, target in halves:
        try:
            found.append(function(probe.take(rows, target)))
        except Undefined:
            found.append(None)
    return MemberPart(whole, tuple(found))


def grow_ensemble(
    parts: Mapping[str, MemberPart], joined: Joined, interval: Interval
) -> tuple[list[Step], Step | None]:
    """A set of sources, in the order of choice, and the step at which it stopped growing, None where no one was left.

    Each step takes the source with which the score `joined`, of parts (S, N), is highest; of equal ones the first
    given. It stops where the gain is less than its uncertainty: where the `interval` of the gain, made from the gains
    on the halves (H,), NaN where one has none, reaches down to 0, or where there is no interval.

    The gain is the best of many, and therefore a little too high: a set may hold a source too much.
    """
    steps: list[Step] = []
    chosen: list[str] = []
    while len(chosen) < len(parts):
        left = [name for name in parts if name not in chosen]
        scores = [joined(np.stack([parts[one].whole for one in (*chosen, name)])) for name in left]
        best = int(np.argmax(scores))
        step = Step(left[best], scores[best])
        if steps:
            gain = scores[best] - steps[-1].score
            with_it = _on_halves([parts[name] for name in (*chosen, step.source)], joined)
            low, high = interval(gain, with_it - _on_halves([parts[name] for name in chosen], joined))
            step = replace(step, gain=gain, low=low, high=high)
            if low is None or low <= 0:
                return steps, step
        steps.append(step)
        chosen.append(step.source)
    return steps, None


def _on_halves(members: Sequence[MemberPart], joined: Joined) -> Array:
    """The score of a set on each half (H,), NaN where a member has no part."""
    scores = np.full(len(members[0].halves), np.nan)
    for i, row in enumerate(zip(*(member.halves for member in members), strict=True)):
        known = [one for one in row if one is not None]
        if len(known) == len(row):
            scores[i] = joined(np.stack(known))
    return scores
