"""What AFTER gained and lost against BEFORE, in which classes, and what a teacher knew of it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo_cli.evaluation import accuracy_intervals, class_embeddings, flip_concentration, flip_statistics
from zoo_cli.evaluation.accuracy_intervals import Interval, PairedDifference
from zoo_cli.evaluation.flip_concentration import Concentration, SetSimilarity
from zoo_cli.evaluation.flip_statistics import ClassFlips, Flips
from zoo_cli.evaluation.predictions import Predictions
from zoo_cli.pipeline.evaluate.prediction_reader import PredictionReader

Array = np.ndarray


@dataclass(frozen=True)
class FlipsConfig:
    """`before`, `after`, `teacher`: run folders, parquet files or models, on the same samples.

    `class_embeddings`: a file with vectors of the class names; without one the classes are not compared.
    """

    workspace: Path
    before: str
    after: str
    teacher: str | None = None
    class_embeddings: Path | None = None
    device: str = "auto"
    workers: int | None = None


@dataclass(frozen=True)
class ClassRow:
    """The flips of the n samples of one class; the rates are shares of n, the ids in the order of BEFORE."""

    name: str
    n: int
    positive: int
    negative: int
    positive_rate: float
    negative_rate: float
    positive_ids: tuple[str, ...]
    negative_ids: tuple[str, ...]


@dataclass(frozen=True)
class TopClasses:
    """The fewest classes that hold `share` % of the positive flips, most flipped first.

    `positive`: the flips in these classes; `held`: their share of all, None if nothing flipped; `similarity`: see
    `flip_concentration.set_similarity`, None without vectors of the classes.
    """

    share: int
    count: int
    positive: int
    held: float | None
    classes: tuple[str, ...]
    similarity: SetSimilarity | None


@dataclass(frozen=True)
class FlipsResult:
    """Flips between two sets of predictions.

    `statistics`: see `flip_statistics.compare_predictions`; `classes`: by falling rate of positive flips;
    `similarity_by`: the file with the vectors of the classes; `concentration`: see `flip_concentration.concentration`.
    `before`, `after`: the 90 % intervals of the accuracies; `difference`: of the accuracies, after less before.
    """

    statistics: Flips
    classes: tuple[ClassRow, ...]
    top: tuple[TopClasses, ...]
    similarity_by: str | None
    concentration: Concentration | None
    before: Interval
    after: Interval
    difference: PairedDifference


def compare_flips(options: FlipsConfig) -> FlipsResult:
    """The flips from BEFORE to AFTER.

    Raises UsageError for an unknown name, ContractError for different samples, labels or numbers of classes.
    """
    reader = PredictionReader(options.workspace, options.device, options.workers)
    reference = reader.read(options.before)
    after = reader.read(options.after, labels=False).align_classes(reference)
    teacher = None if options.teacher is None else reader.read(options.teacher, labels=False).align_classes(reference)
    labels, names, before = reference.labels, reference.classes, flip_statistics.predicted_classes(reference.logits)
    statistics = flip_statistics.compare_predictions(labels, before, after, names, teacher)
    occurring = np.flatnonzero(np.bincount(labels, minlength=len(names)))
    gained = flip_statistics.positive_by_class(labels, before, after, len(names))[occurring]
    errors = flip_statistics.errors_by_class(labels, before, len(names))[occurring]
    shown = [names[c] for c in occurring]
    embeddings = options.class_embeddings
    vectors = None if embeddings is None else class_embeddings.load_class_vectors(embeddings, shown)
    right_before, right_after = before == labels, after == labels
    return FlipsResult(
        statistics,
        tuple(_class_row(row, reference, right_before, right_after) for row in statistics.classes),
        _top_classes(gained, shown, vectors),
        None if embeddings is None else embeddings.name,
        flip_concentration.concentration(gained, errors),
        accuracy_intervals.accuracy_interval(int(right_before.sum()), len(labels)),
        accuracy_intervals.accuracy_interval(int(right_after.sum()), len(labels)),
        accuracy_intervals.paired_difference(right_before, right_after),
    )


def _class_row(flips: ClassFlips, reference: Predictions, right_before: Array, right_after: Array) -> ClassRow:
    """The flips of a class with the ids of its samples."""
    members = reference.labels == flips.label
    gained, lost = members & ~right_before & right_after, members & right_before & ~right_after
    return ClassRow(
        flips.name,
        flips.n,
        flips.positive,
        flips.negative,
        flips.positive / flips.n,
        flips.negative / flips.n,
        tuple(map(str, reference.ids[gained])),
        tuple(map(str, reference.ids[lost])),
    )


def _top_classes(gained: Array, names: list[str], vectors: Array | None) -> tuple[TopClasses, ...]:
    """For each share, the classes that hold it; gained (K,): positive flips of each class."""
    sets = [flip_concentration.smallest_set(gained, share) for share in flip_concentration.SHARES]
    similarities = [None for _ in sets] if vectors is None else flip_concentration.set_similarity(sets, vectors)
    return tuple(
        TopClasses(
            share,
            len(chosen),
            int(gained[chosen].sum()),
            int(gained[chosen].sum()) / int(gained.sum()) if gained.any() else None,
            tuple(names[c] for c in chosen),
            similarity,
        )
        for share, chosen, similarity in zip(flip_concentration.SHARES, sets, similarities, strict=True)
    )
