"""The conclusion from a ranking: which sources fit the task and which is best, in one sentence."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
CONFIDENCE = 0.95

NO_GAIN = "no source fits: expect no gain over labels alone"


@dataclass(frozen=True)
class Verdict:
    """`kind`: "best" (one source), "tie" (of `names`), "none", or "unknown" if no score has replicates.

    `fits`: all sources that fit, best first; `sentence`: the verdict for people.
    """

    kind: Literal["best", "tie", "none", "unknown"]
    names: tuple[str, ...]
    fits: tuple[str, ...]
    sentence: str


def judge_sources(
    names: Sequence[str], values: Array, draws: Array, chance: Array, student: tuple[float, Array] | None = None
) -> Verdict:
    """The verdict on S sources from their scores, values (S,), replicates, draws (S, B), and chance levels (S,).

    `student`: the same score of the student's own starting features and its replicates (B,), paired with the others.
    NaN marks a missing value; if no source has a chance level, only the order is judged, and `fits` is empty.
    A source fits if its score exceeds both its chance level under permuted labels and the student's, each by a
    one-sided 95 % bound that holds for all sources simultaneously: without that, with ten useless sources, four
    verdicts in ten would call one of them fitting. Among the sources that fit, the best is "best" if each other one
    loses to it in 95 % of the paired replicates; otherwise those that lose less often tie with it.
    """
    scored = np.flatnonzero(np.isfinite(values) & np.isfinite(draws).all(axis=1))
    if not len(scored):
        return Verdict("unknown", (), (), "no source has an interval: a larger probe set would tell")
    if not np.isfinite(chance[scored]).any():
        verdict = _judge_order(names, values, draws, scored)
        return replace(verdict, fits=(), sentence=f"{verdict.sentence} (this score cannot say whether a source fits)")
    scored = scored[np.isfinite(chance[scored])]
    passed = _exceeds(values[scored] - chance[scored], draws[scored] - values[scored, None])
    if student is not None and np.isfinite(student[0]) and np.isfinite(student[1]).all():
        deviations = (draws[scored] - values[scored, None]) - (student[1] - student[0])
        passed &= _exceeds(values[scored] - student[0], deviations)
    return _judge_order(names, values, draws, scored[passed])


def _judge_order(names: Sequence[str], values: Array, draws: Array, fitting: Array) -> Verdict:
    """The best of the sources that fit, or those that tie for it."""
    order = sorted(fitting, key=lambda s: (-values[s], names[s]))
    if not order:
        return Verdict("none", (), (), NO_GAIN)
    top = order[0]
    tied = [s for s in order if s == top or (draws[top] > draws[s]).mean() < CONFIDENCE]
    fits, best = tuple(names[s] for s in order), tuple(names[s] for s in tied)
    if len(tied) == 1:
        more = f"; {_join_names(fits[1:])} {'fits' if len(fits) == 2 else 'fit'} too" if len(fits) > 1 else ""
        return Verdict("best", best, fits, f"{best[0]} is clearly the best source{more}")
    return Verdict("tie", best, fits, f"a tie of {_join_names(best)}: weigh them together, or label a larger probe set")


def _exceeds(gaps: Array, deviations: Array) -> Array:
    """Whether gaps (S,) are above 0, simultaneously for all, given the deviations (S, B) of their replicates."""
    spread = deviations.std(axis=1)
    spread = np.where(spread > 0, spread, np.finfo(np.float64).tiny)
    bound = np.quantile((deviations / spread[:, None]).max(axis=0), CONFIDENCE)
    above: Array = gaps > bound * spread
    return above


def _join_names(names: Sequence[str], most: int = 5) -> str:
    shown = list(names[:most]) + ([f"{len(names) - most} more"] if len(names) > most else [])
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
