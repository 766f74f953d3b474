"""What to do about a ranking: which sources fit the task, which one is best, in a sentence to act on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
SURE = 0.95

NO_GAIN = "no source fits: expect no gain over labels alone"


@dataclass(frozen=True)
class Verdict:
    """`kind`: "best" (one source), "tie" (of `names`), "none", or "unknown" where no score has replicates.

    `fits` are all the sources that fit, best first; `sentence` says it to a person.
    """

    kind: Literal["best", "tie", "none", "unknown"]
    names: tuple[str, ...]
    fits: tuple[str, ...]
    sentence: str


def judge(
    names: Sequence[str], values: Array, draws: Array, chance: Array, student: tuple[float, Array] | None = None
) -> Verdict:
    """The verdict on S sources from their scores, values (S,), replicates, draws (S, B), and chance levels (S,).

    `student`: the same score of the student's own starting features and its replicates (B,), paired with the others.
    NaN marks what has no value; where no source has a chance level, only the order is judged, and `fits` is empty.
    A source fits when its score exceeds both its chance level under permuted labels and the student's, each by a
    one-sided 95 % bound that holds for all sources at once: without that, among ten useless sources four in ten
    verdicts would find one. Among those that fit, one is the best when each other one loses to it in 95 % of the
    paired replicates; otherwise those that do not lose so often tie with it.
    """
    known = np.flatnonzero(np.isfinite(values) & np.isfinite(draws).all(axis=1))
    if not len(known):
        return Verdict("unknown", (), (), "no source has an interval: a larger probe set would tell")
    if not np.isfinite(chance[known]).any():
        found = _order(names, values, draws, known)
        return replace(found, fits=(), sentence=f"{found.sentence} (this score cannot say whether a source fits)")
    known = known[np.isfinite(chance[known])]
    passed = _exceeds(values[known] - chance[known], draws[known] - values[known, None])
    if student is not None and np.isfinite(student[0]) and np.isfinite(student[1]).all():
        deviations = (draws[known] - values[known, None]) - (student[1] - student[0])
        passed &= _exceeds(values[known] - student[0], deviations)
    return _order(names, values, draws, known[passed])


def _order(names: Sequence[str], values: Array, draws: Array, fitting: Array) -> Verdict:
    """The best of those that fit, or those that tie for it."""
    order = sorted(fitting, key=lambda s: (-values[s], names[s]))
    if not order:
        return Verdict("none", (), (), NO_GAIN)
    top = order[0]
    tied = [s for s in order if s == top or (draws[top] > draws[s]).mean() < SURE]
    fits, best = tuple(names[s] for s in order), tuple(names[s] for s in tied)
    if len(tied) == 1:
        more = f"; {_listed(fits[1:])} {'fits' if len(fits) == 2 else 'fit'} too" if len(fits) > 1 else ""
        return Verdict("best", best, fits, f"{best[0]} is clearly the best source{more}")
    return Verdict("tie", best, fits, f"a tie of {_listed(best)}: weigh them together, or label a larger probe set")


def _exceeds(gaps: Array, deviations: Array) -> Array:
    """Whether gaps (S,) are above 0, sure for all at once, given the replicates' deviations (S, B) from the gaps."""
    spread = deviations.std(axis=1)
    spread = np.where(spread > 0, spread, np.finfo(np.float64).tiny)
    bound = np.quantile((deviations / spread[:, None]).max(axis=0), SURE)
    above: Array = gaps > bound * spread
    return above


def _listed(names: Sequence[str], most: int = 5) -> str:
    shown = list(names[:most]) + ([f"{len(names) - most} more"] if len(names) > most else [])
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
