"""What AFTER gained and lost against BEFORE, in which classes, and what a teacher knew of it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo_cli.evaluation import class_embeddings, flip_concentration, flip_statistics
from zoo_cli.evaluation.flip_concentration import Concentration, SetSimilarity
from zoo_cli.evaluation.flip_statistics import Flips
from zoo_cli.pipeline.evaluate.prediction_reader import PredictionReader


@dataclass(frozen=True)
class FlipsConfig:
    """`before`, `after`, `teacher`: run folders, parquet files or models, on the same samples.

    `class_embeddings`: a file with vectors of the class names; without one they are compared by spelling.
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
    """The flips of the n samples of one class; the rates are shares of n."""

    name: str
    n: int
    positive: int
    negative: int
    positive_rate: float
    negative_rate: float


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
    `similarity_by`: what the vectors of the classes come from; `concentration`: see `flip_concentration.concentration`.
    """

    statistics: Flips
    classes: tuple[ClassRow, ...]
    top: tuple[TopClasses, ...]
    similarity_by: str | None
    concentration: Concentration | None


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
    classes = tuple(
        ClassRow(
            row.name,
            row.n,
            row.positive,
            row.negative,
            row.positive / row.n,
            row.negative / row.n,
        )
        for row in statistics.classes
    )
    occurring = np.flatnonzero(np.bincount(labels, minlength=len(names)))
    gained = flip_statistics.positive_by_class(labels, before, after, len(names))[occurring]
    errors = flip_statistics.errors_by_class(labels, before, len(names))[occurring]
    shown = [names[c] for c in occurring]
    vectors, similarity_by = class_embeddings.load_class_vectors(options.class_embeddings, shown, reference.named)
    return FlipsResult(
        statistics,
        classes,
        _top_classes(gained, shown, vectors),
        similarity_by,
        flip_concentration.concentration(gained, errors),
    )


def _top_classes(gained: np.ndarray, names: list[str], vectors: np.ndarray | None) -> tuple[TopClasses, ...]:
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
