"""The conclusion from a ranking: which sources fit the task, which is best, and how many labels would tell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from zoo_cli.ranking.bounds import CONFIDENCE, MOST_LABELS, Gaps, bound_gaps, labels_to_tell, round_labels

Array = NDArray[Any]
Fit = Literal["yes", "no", "unknown"]

NONE_BEATS_STUDENT = "no source's features separate your classes better than the student's own"
NONE_BEATS_CHANCE = "no source's features separate your classes better than chance"
NO_INTERVAL = "no source has an interval: a larger probe set would tell"
CANNOT_SAY = "this score cannot say whether a source fits"


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of S sources on one probe set: values (S,) and paired replicates, draws (S, B); NaN where undefined.

    `error`, `error_half` (S,): standard errors on the probe set and on half of it; where NaN, those of the draws and
    sqrt(2) times as much. `chance`, `chance_error` (S,): the chance levels and their standard errors.
    """

    values: Array
    draws: Array
    chance: Array
    chance_error: Array
    error: Array
    error_half: Array

    def take(self, rows: Array) -> Self:
        """The scores of these sources."""
        return type(self)(*(part[rows] for part in vars(self).values()))

    @property
    def defined(self) -> Array:
        """Which sources have a score and replicates (S,)."""
        return np.asarray(np.isfinite(self.values) & np.isfinite(self.draws).all(axis=1))

    def deviations(self) -> tuple[Array, Array]:
        """The deviations of the replicates (S, B), scaled to the standard errors on the probe set and on half of it."""
        centred = self.draws - self.values[:, None]
        spread = centred.std(axis=1)
        error = np.where(np.isfinite(self.error), self.error, spread)
        half = np.where(np.isfinite(self.error_half), self.error_half, np.sqrt(2) * error)
        unit = centred / np.where(spread > 0, spread, 1.0)[:, None]
        return unit * error[:, None], unit * half[:, None]


@dataclass(frozen=True)
class Verdict:
    """What a ranking says. `kind`: "best" (one source), "tie" (of `names`), "none", or "unknown" (too few labels).

    `names`: the best source, those that tie with it, or the leader where the labels are too few. `fits`: all sources
    that fit, best first. `fit`: of every source with an interval, where the score can say; `labels_needed`: about how
    many labels would decide it, for those undecided. `sentence`: the verdict for people.
    """

    kind: Literal["best", "tie", "none", "unknown"]
    names: tuple[str, ...]
    fits: tuple[str, ...]
    sentence: str
    fit: Mapping[str, Fit] = field(default_factory=dict)
    labels_needed: Mapping[str, int | None] = field(default_factory=dict)


def judge_sources(
    names: Sequence[str],
    scores: Scores,
    student: Scores | None = None,
    *,
    size: int,
    classes: int = 0,
    margin: float = 0.0,
) -> Verdict:
    """The verdict on S sources and, if given, one student, scored by its starting features on the same probe set.

    `size`: labelled samples of the probe set, L, in this number of `classes`; 0 of them: the errors are exact.
    `margin`: the smallest gap that matters, m. Each source has two gaps g, to its chance level under permuted labels
    and to the student, with bounds that hold for all sources at once. It does not fit if g + above <= m for either gap;
    else it fits if g - below > 0 for both; else the labels are too few to tell. The best source is the one with the
    highest score, "best" if every other one that may fit loses to it in 95 % of the paired replicates; otherwise those
    that lose less often tie with it.
    """
    ranked: list[int] = sorted(np.flatnonzero(scores.defined).tolist(), key=lambda s: (-scores.values[s], names[s]))
    if not ranked:
        return Verdict("unknown", (), (), NO_INTERVAL)
    judged = [s for s in ranked if np.isfinite(scores.chance[s])]
    if not judged:
        verdict = _judge_order(names, scores, ranked, ())
        return Verdict(verdict.kind, verdict.names, (), f"{verdict.sentence} ({CANNOT_SAY})")
    compared = student is not None and bool(student.defined.all())
    freedom = size - classes if classes else np.inf
    gaps = _measure_gaps(scores.take(np.array(judged)), student if compared else None, freedom)
    states = judge_gaps(gaps, margin)
    needed = count_labels(gaps, states, size, margin)
    fit: dict[str, Fit] = {names[s]: state for s, state in zip(judged, states, strict=True)}
    labels = {names[s]: count for s, count in zip(judged, needed, strict=True)}
    verdict = _conclude(names, scores, ranked, fit, labels, size, compared)
    return Verdict(verdict.kind, verdict.names, verdict.fits, verdict.sentence, fit, labels)


def judge_gaps(gaps: Sequence[Gaps], margin: float) -> list[Fit]:
    """Whether each of S sources fits, by its gaps to each reference."""
    fails = np.any([gap.value + gap.above <= margin for gap in gaps], axis=0)
    passes = np.all([gap.value - gap.below > 0 for gap in gaps], axis=0)
    return ["no" if fail else "yes" if succeed else "unknown" for fail, succeed in zip(fails, passes, strict=True)]


def count_labels(gaps: Sequence[Gaps], states: Sequence[Fit], size: int, margin: float) -> list[int | None]:
    """About how many labels would decide each undecided source: to fit or not to fit, whichever takes fewer."""
    to_fit = np.max([labels_to_tell(size, gap.value, gap.below, gap.rate) for gap in gaps], axis=0)
    not_to_fit = np.min([labels_to_tell(size, margin - gap.value, gap.above, gap.rate) for gap in gaps], axis=0)
    counts = np.minimum(to_fit, not_to_fit)
    return [
        round_labels(float(count)) if state == "unknown" else None for count, state in zip(counts, states, strict=True)
    ]


def _measure_gaps(scores: Scores, student: Scores | None, freedom: float) -> list[Gaps]:
    """The gaps to chance and, if it is given, to the student, with their bounds."""
    own, own_half = scores.deviations()
    # A chance level is the mean of few permutations. Its error is that of pairs, twice as large on half the probe.
    noise = np.random.default_rng([0, 4]).standard_normal(own.shape) * np.nan_to_num(scores.chance_error)[:, None]
    gaps = [bound_gaps(scores.values - scores.chance, own + noise, (own_half + 2 * noise).std(axis=1), freedom)]
    if student is not None:
        base, base_half = student.deviations()
        gaps.append(bound_gaps(scores.values - student.values, own - base, (own_half - base_half).std(axis=1), freedom))
    return gaps


def _conclude(
    names: Sequence[str],
    scores: Scores,
    ranked: Sequence[int],
    fit: Mapping[str, Fit],
    labels: Mapping[str, int | None],
    size: int,
    compared: bool,
) -> Verdict:
    """The verdict on sources in the order of their scores."""
    leader, fits = names[ranked[0]], tuple(names[s] for s in ranked if fit.get(names[s]) == "yes")
    if all(state == "no" for state in fit.values()):
        return Verdict("none", (), (), NONE_BEATS_STUDENT if compared else NONE_BEATS_CHANCE)
    if fit.get(leader) == "yes":
        return _judge_order(names, scores, [s for s in ranked if fit.get(names[s]) != "no"], fits)
    counts = [labels.get(leader)] if fit.get(leader) == "unknown" else list(labels.values())
    sentence = f"{leader} leads, but {size:,} labels are too few to tell whether it fits"
    count = min((count for count in counts if count is not None), default=None)
    if count is not None:
        sentence += f"; {'about' if count < MOST_LABELS else 'more than'} {count:,} would tell"
    if fits:
        sentence += f"; {join_names(fits)} {_fit(fits)}"
    return Verdict("unknown", (leader,), fits, sentence)


def _judge_order(names: Sequence[str], scores: Scores, order: Sequence[int], fits: Sequence[str]) -> Verdict:
    """The first of the sources in their order as the best, or those that tie with it."""
    top, draws = order[0], scores.draws
    tied = [s for s in order if s == top or (draws[top] > draws[s]).mean() < CONFIDENCE]
    best = tuple(names[s] for s in tied)
    if len(tied) == 1:
        others = [name for name in fits if name != best[0]]
        more = f"; {join_names(others)} {_fit(others)} too" if others else ""
        return Verdict("best", best, tuple(fits), f"{best[0]} is clearly the best source{more}")
    sentence = f"a tie of {join_names(best)}: weigh them together, or label a larger probe set"
    return Verdict("tie", best, tuple(fits), sentence)


def _fit(names: Sequence[str]) -> str:
    return "fits" if len(names) == 1 else "fit"


def join_names(names: Sequence[str], most: int = 5) -> str:
    """Names as a phrase, the first few of a long list."""
    shown = list(names[:most]) + ([f"{len(names) - most} more"] if len(names) > most else [])
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
