"""Compare every ordered pair of models: what one knows and the other does not, and two controls for it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo_cli import console
from zoo_cli.config import Source
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.evaluation import accuracy_intervals, flip_concentration, flip_statistics, named_runs, predictions
from zoo_cli.evaluation.predictions import Predictions
from zoo_cli.pipeline.evaluate import seed_twins
from zoo_cli.pipeline.evaluate.prediction_reader import PredictionReader

UNTRAINED, OTHER_SEED = "random initialisation", "another seed"


@dataclass(frozen=True)
class PairsConfig:
    """`models`: two or more run folders, parquet files or models; without any, every finished run of the workspace."""

    workspace: Path
    models: tuple[str, ...] = ()
    device: str = "auto"
    workers: int | None = None


@dataclass(frozen=True)
class PairRow:
    """What a teacher knows that a student does not, on n samples.

    `complementary`: share of samples that the teacher has right and the student wrong, `positive` their number, and
    `negative` the number of the reverse; `difference`: of the accuracies, teacher less student, also (positive -
    negative) / n, with its 90 % interval and, as `p_value`, the p of McNemar's exact test. `entropy`, `p`: how evenly
    the positive ones lie over the classes, and whether chance would put them as close together, see
    `flip_concentration.concentration`; None if there are none. `control`: what the pair is a control of, None for a
    pair of the models listed.
    """

    teacher: str
    student: str
    n: int
    teacher_accuracy: float
    student_accuracy: float
    difference: float
    complementary: float
    positive: int
    negative: int
    entropy: float | None
    p: float | None
    control: str | None
    difference_low: float
    difference_high: float
    p_value: float


@dataclass(frozen=True)
class ComparedModel:
    """A model: its name, its run folder if it is a run, and the classes (N,) that it predicts."""

    name: str
    folder: Path | None
    predicted: np.ndarray


def compare_pairs(options: PairsConfig) -> list[PairRow]:
    """A row for every ordered pair of models, then the controls; a message for each control that is not possible.

    Controls: the architecture of the first known model, with random weights, as a teacher of each; and pairs of runs
    that differ only in their seed, among those listed or beside them in their folder. Raises UsageError for fewer
    than two different models.
    """
    reader = PredictionReader(options.workspace, options.device, options.workers)
    texts = options.models or named_runs.finished_runs(options.workspace)
    if len(texts) < 2 or len(set(texts)) < len(texts):
        raise UsageError(f"--all compares two or more different models, not {', '.join(texts)}", "name different ones")
    return list(_rows(reader, texts))


def _rows(reader: PredictionReader, texts: Sequence[str]) -> Iterator[PairRow]:
    reference = reader.read(texts[0])
    short = [named_runs.display_name(text, reader.workspace) for text in texts]
    names = short if len(set(short)) == len(short) else texts
    models = [_load_model(reader, text, name, reference) for text, name in zip(texts, names, strict=True)]
    twins = _seed_twins(models)
    beside = [] if twins else _twins_beside(models, reference)
    for teacher in models:
        for student in models:
            if teacher is not student:
                control = OTHER_SEED if (teacher.name, student.name) in twins else None
                yield _compare(reference, teacher, student, control)
    for teacher, student in beside:
        yield _compare(reference, teacher, student, OTHER_SEED)
    if not twins and not beside:
        console.say(f"no control of {OTHER_SEED}: no two runs here differ only in their seed")
    untrained = _load_untrained(reader, texts, reference)
    if untrained is not None:
        for student in models:
            yield _compare(reference, untrained, student, UNTRAINED)


def _load_model(reader: PredictionReader, text: str, name: str, reference: Predictions) -> ComparedModel:
    path = named_runs.resolve_run(Path(text), reader.workspace)
    predicted = reader.read(text, labels=False).align_classes(reference)
    return ComparedModel(name, path if path.is_dir() else None, predicted)


def _compare(reference: Predictions, teacher: ComparedModel, student: ComparedModel, control: str | None) -> PairRow:
    labels, count = reference.labels, len(reference.classes)
    statistics = flip_statistics.teacher_statistics(labels, student.predicted, student.predicted, teacher.predicted)
    occurring = np.flatnonzero(np.bincount(labels, minlength=count))
    positive = flip_statistics.positive_by_class(labels, student.predicted, teacher.predicted, count)[occurring]
    errors = flip_statistics.errors_by_class(labels, student.predicted, count)[occurring]
    concentration = flip_concentration.concentration(positive, errors)
    difference = accuracy_intervals.paired_difference(student.predicted == labels, teacher.predicted == labels)
    return PairRow(
        teacher=teacher.name,
        student=student.name,
        n=len(labels),
        teacher_accuracy=statistics.accuracy,
        student_accuracy=float((student.predicted == labels).mean()),
        difference=statistics.difference,
        complementary=statistics.complementary,
        positive=statistics.offered,
        negative=int(((student.predicted == labels) & (teacher.predicted != labels)).sum()),
        entropy=concentration.entropy.value if concentration else None,
        p=concentration.entropy.p if concentration else None,
        control=control,
        difference_low=difference.low,
        difference_high=difference.high,
        p_value=difference.p_value,
    )


def _seed_twins(models: Sequence[ComparedModel]) -> set[tuple[str, str]]:
    """The ordered pairs of names of runs that differ only in their seed."""
    options = {model.name: seed_twins.seedless_options(model.folder) for model in models}
    return {
        (a.name, b.name)
        for a in models
        for b in models
        if a is not b and options[a.name] is not None and options[a.name] == options[b.name]
    }


def _twins_beside(models: Sequence[ComparedModel], reference: Predictions) -> list[tuple[ComparedModel, ComparedModel]]:
    """For each run, the first unlisted run in its folder that differs only in its seed, and the run itself."""
    pairs = []
    for model in models:
        options = seed_twins.seedless_options(model.folder)
        if model.folder is None or options is None:
            continue
        for folder in named_runs.finished_beside(model.folder.parent):
            if folder.name != model.folder.name and seed_twins.seedless_options(folder) == options:
                predicted = predictions.load_predictions(folder, labels=False).align_classes(reference)
                pairs.append((ComparedModel(folder.name, folder, predicted), model))
                break
    return pairs


def _load_untrained(reader: PredictionReader, texts: Sequence[str], reference: Predictions) -> ComparedModel | None:
    """The first known model with random weights, run on the same images."""
    model = next(filter(None, (_find_model(reader, text) for text in texts)), None)
    if model is None or not reader.settings.manifest.exists():
        reason = "none of these is a model that can be built" if model is None else "there is no manifest of the images"
        console.say(f"no control of {UNTRAINED}: {reason}")
        return None
    try:
        predicted = reader.predict_untrained(model).align_classes(reference)
    except (UsageError, ContractError) as error:
        console.say(f"no control of {UNTRAINED}: {error}")
        return None
    return ComparedModel(f"{model.name} untrained", None, predicted)


def _find_model(reader: PredictionReader, text: str) -> Source | None:
    """The model that a user names; None for stored predictions of an unknown model."""
    path = named_runs.resolve_run(Path(text), reader.workspace)
    if not path.exists():
        return reader.find_model(text)
    return Source(path.name, f"file:{path.resolve()}") if (path / "config.json").exists() else None
