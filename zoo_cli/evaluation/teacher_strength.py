"""Transfers by the strength of their teachers, and their ceiling: the student and its teacher as an ensemble."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from zoo_cli.evaluation import flip_statistics
from zoo_cli.evaluation.flip_statistics import TransferStatistics

Array = np.ndarray

WEAKER, EQUAL, STRONGER = "weaker", "equal", "stronger"
STRENGTHS = (WEAKER, EQUAL, STRONGER)


@dataclass(frozen=True)
class TeacherPlace:
    """A teacher beside the student before a transfer, see `place_teacher`."""

    strength: str
    strength_p: float
    ensemble_accuracy: float
    ensemble_delta: float


@dataclass(frozen=True)
class StrengthSummary:
    """The transfers from teachers of one strength, each teacher of a transfer counted once.

    `success_rate`: the share of transfers whose accuracy rose (Fantastic Gains, section 4); `success`, `failure`,
    `undecided`: their outcomes by McNemar's exact test; `mean_delta` and `mean_ensemble_delta`: of the accuracy, by the
    transfer and by the ensemble. None without transfers.
    """

    strength: str
    transfers: int
    success_rate: float | None
    success: int
    failure: int
    undecided: int
    mean_delta: float | None
    mean_ensemble_delta: float | None


def place_teacher(labels: Array, before: Array, teacher: Array) -> TeacherPlace:
    """How strong a teacher is, and what it reaches together with the student.

    labels (N,); before, teacher: logits (N, C) of the student before the transfer and of the teacher. `strength`:
    weaker or stronger if their accuracies differ by McNemar's exact test (`strength_p` <= 0.05, two-sided), else equal.
    The ensemble predicts by the mean of both models' probabilities; its delta is over the student before.
    """
    student, other = flip_statistics.predicted_classes(before), flip_statistics.predicted_classes(teacher)
    compared = flip_statistics.transfer_statistics(labels, student, other)
    names = {"success": STRONGER, "failure": WEAKER, "undecided": EQUAL}
    both = softmax(before.astype(np.float64), axis=1) + softmax(teacher.astype(np.float64), axis=1)
    together = flip_statistics.transfer_statistics(labels, student, flip_statistics.predicted_classes(both))
    return TeacherPlace(names[compared.outcome], compared.p, together.accuracy_after, together.delta)


def summarize_strengths(transfers: Iterable[tuple[TransferStatistics, TeacherPlace]]) -> tuple[StrengthSummary, ...]:
    """The transfers of each strength, weaker teachers first; `transfers`: one for each teacher of each of them."""
    groups: dict[str, list[tuple[TransferStatistics, TeacherPlace]]] = {strength: [] for strength in STRENGTHS}
    for statistics, place in transfers:
        groups[place.strength].append((statistics, place))
    rows = []
    for strength, group in groups.items():
        deltas = [statistics.delta for statistics, _ in group]
        outcomes = Counter(statistics.outcome for statistics, _ in group)
        rows.append(
            StrengthSummary(
                strength,
                len(group),
                _mean([float(delta > 0) for delta in deltas]),
                outcomes["success"],
                outcomes["failure"],
                outcomes["undecided"],
                _mean(deltas),
                _mean([place.ensemble_delta for _, place in group]),
            )
        )
    return tuple(rows)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
