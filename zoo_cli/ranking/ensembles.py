"""Ensembles of sources: grown one source at a time, for as long as the next one adds more than its uncertainty."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import Undefined
from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.plain_metrics import accept_probe
from zoo_cli.metrics.probe import Probe

Array = NDArray[Any]

Joined = Callable[[Array], float]
Interval = Callable[[float, Array], tuple[float | None, float | None]]


@dataclass(frozen=True)
class MemberPart:
    """What one source contributes to an ensemble: `whole` (N,), and the same for each half sample, None if undefined.

    Parts of several sources have their samples in one order.
    """

    whole: Array
    half_samples: tuple[Array | None, ...]


@dataclass(frozen=True)
class Step:
    """One more source in an ensemble: the ensemble's `score` with it, its `gain`, and the 90 % interval of the gain,
    None if there is none. For the first source `gain`, `low` and `high` are None."""

    source: str
    score: float
    gain: float | None = None
    low: float | None = None
    high: float | None = None


def member_part(
    function: Callable[..., Array], probe: Probe, half_samples: Sequence[tuple[Array, Classes]]
) -> MemberPart:
    """A source's part: `function` of its probe (N,) and of the half samples, given as their rows and label sides.

    Raises Undefined if `function` of the whole probe does.
    """
    function = accept_probe(function)
    whole = function(probe)
    parts: list[Array | None] = []
    for rows, target in half_samples:
        try:
            parts.append(function(probe.take(rows, target)))
        except Undefined:
            parts.append(None)
    return MemberPart(whole, tuple(parts))


def grow_ensemble(
    parts: Mapping[str, MemberPart], joined: Joined, interval: Interval
) -> tuple[list[Step], Step | None]:
    """The sources of an ensemble in the order of choice, and the step that ended its growth, None if none was left.

    Each step takes the source with the highest score `joined` of the parts (S, N); among equal ones the first. Growth
    ends where a gain is smaller than its uncertainty: where the `interval` of the gain, made from the gains on the half
    samples (H,), NaN where undefined, reaches down to 0, or where there is no interval.

    The gain is the best of several and therefore slightly too high: an ensemble may hold a source too many.
    """
    steps: list[Step] = []
    chosen: list[str] = []
    while len(chosen) < len(parts):
        candidates = [name for name in parts if name not in chosen]
        scores = [joined(np.stack([parts[member].whole for member in (*chosen, name)])) for name in candidates]
        best = int(np.argmax(scores))
        step = Step(candidates[best], scores[best])
        if steps:
            gain = scores[best] - steps[-1].score
            before = _score_half_samples([parts[name] for name in chosen], joined)
            after = _score_half_samples([parts[name] for name in (*chosen, step.source)], joined)
            low, high = interval(gain, after - before)
            step = replace(step, gain=gain, low=low, high=high)
            if low is None or low <= 0:
                return steps, step
        steps.append(step)
        chosen.append(step.source)
    return steps, None


def _score_half_samples(members: Sequence[MemberPart], joined: Joined) -> Array:
    """The score of an ensemble on each half sample (H,), NaN where a member has no part."""
    scores = np.full(len(members[0].half_samples), np.nan)
    for i, row in enumerate(zip(*(member.half_samples for member in members), strict=True)):
        defined = [part for part in row if part is not None]
        if len(defined) == len(row):
            scores[i] = joined(np.stack(defined))
    return scores
