"""A student before and after a transfer, beside its teachers."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo_cli import console
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.evaluation import flip_concentration, flip_statistics, named_runs, predictions, teacher_strength
from zoo_cli.evaluation.flip_statistics import TeacherStatistics, TransferStatistics
from zoo_cli.evaluation.predictions import Predictions
from zoo_cli.evaluation.teacher_strength import StrengthSummary, TeacherPlace
from zoo_cli.pipeline.evaluate.prediction_reader import PredictionReader
from zoo_cli.store import files
from zoo_cli.store.records import check_value
from zoo_cli.training.run_record import load_run_record

Array = np.ndarray


@dataclass(frozen=True)
class TransferEvaluationConfig:
    """`before`, `after`, `teachers`: run folders, parquet files or models, on the same samples.

    `after`: the student after each transfer. `teachers`: one for all of them, one for each, or several for a single
    one; without any, those that the run.json of each names.
    """

    workspace: Path
    before: str
    after: tuple[str, ...]
    teachers: tuple[str, ...] = ()
    device: str = "auto"
    workers: int | None = None


@dataclass(frozen=True)
class TopUptake:
    """Uptake within the fewest classes that hold `share` % of the offer, see `flip_concentration.class_uptake`."""

    share: float
    count: int
    offered: int
    transferred: int
    gained: int
    transfer_rate: float | None
    class_transfer_rate: float | None
    classes: tuple[str, ...]


@dataclass(frozen=True)
class TeacherUptake:
    """How much of a teacher's knowledge the student took up.

    `statistics`: see `flip_statistics.teacher_statistics`; `class_transfer_rate`: within all classes where the teacher
    offers something; `top`: within the fewest classes that hold each share of it; `place`: its strength, and what it
    reaches together with the student before.
    """

    teacher: str
    statistics: TeacherStatistics
    class_transfer_rate: float | None
    top: tuple[TopUptake, ...]
    place: TeacherPlace


@dataclass(frozen=True)
class TransferRow:
    """One transfer, see `flip_statistics.transfer_statistics`; `p_holm`, `outcome_holm`: corrected for all of them."""

    after: str
    statistics: TransferStatistics
    teachers: tuple[TeacherUptake, ...]
    p_holm: float
    outcome_holm: str


@dataclass(frozen=True)
class OutcomeCounts:
    """How many transfers have each outcome."""

    success: int
    failure: int
    undecided: int


@dataclass(frozen=True)
class TransferSummary:
    """All transfers: their outcomes, the share whose accuracy rose, and the mean delta; `strengths`: by teacher."""

    transfers: int
    outcomes: OutcomeCounts
    outcomes_holm: OutcomeCounts
    success_rate: float
    mean_delta: float
    strengths: tuple[StrengthSummary, ...]


@dataclass(frozen=True)
class TransferResult:
    """The transfers from one student."""

    before: str
    transfers: tuple[TransferRow, ...]
    summary: TransferSummary


def evaluate_transfer(options: TransferEvaluationConfig) -> TransferResult:
    """What each transfer changed, and how much of that the teachers knew.

    Raises UsageError for unknown names or teachers that do not match the transfers, ContractError for different
    samples, labels or numbers of classes.
    """
    names = _match_teachers(options.after, options.teachers)
    reader = PredictionReader(options.workspace, options.device, options.workers)
    reference = reader.read(options.before)
    named = {name: reader.read(name, labels=False).align_outputs(reference) for name in dict.fromkeys(options.teachers)}
    statistics, uptakes = [], []
    for text, own_teachers in zip(options.after, names, strict=True):
        after = reader.read(text, labels=False).align_classes(reference)
        if options.teachers:
            teachers = {name: named[name] for name in own_teachers}
        else:
            teachers = _recorded_teachers(reader, text, reference)
        before = flip_statistics.predicted_classes(reference.logits)
        statistics.append(flip_statistics.transfer_statistics(reference.labels, before, after))
        uptakes.append(tuple(_uptake(reference, after, name, teacher) for name, teacher in teachers.items()))
    adjusted = flip_statistics.holm([row.p for row in statistics])
    rows = tuple(
        TransferRow(
            named_runs.display_name(text, options.workspace), row, uptake, p, flip_statistics.outcome(row.delta, p)
        )
        for text, row, uptake, p in zip(options.after, statistics, uptakes, adjusted, strict=True)
    )
    return TransferResult(named_runs.display_name(options.before, options.workspace), rows, _summarize(rows))


def _match_teachers(after: Sequence[str], teachers: Sequence[str]) -> list[Sequence[str]]:
    """The teachers of each AFTER: all for a single one, one for all, or one each."""
    if len(after) == 1:
        return [teachers]
    if len(teachers) <= 1:
        return [teachers] * len(after)
    if len(teachers) != len(after):
        raise UsageError(f"{len(teachers)} teachers for {len(after)} AFTER", "one for all of them, or one for each")
    return [[name] for name in teachers]


def _recorded_teachers(reader: PredictionReader, text: str, reference: Predictions) -> dict[str, Array]:
    """The logits of the teachers that a run of general transfer names, if they still exist."""
    file = named_runs.resolve_run(Path(text), reader.workspace) / "run.json"
    recorded = _read_teachers(file) if file.exists() else {}
    teachers = {}
    for name, digest in recorded.items():
        try:
            teachers[name] = _load_teacher(reader, name, digest).align_outputs(reference)
        except (UsageError, ContractError) as error:
            console.say(f"{text} names the teacher {name}, which is left out: {error}")
    if not recorded:
        console.say(f"no teacher of {text} is known; --teacher names one")
    return teachers


def _read_teachers(file: Path) -> dict[str, str | None]:
    """The teachers that a run.json names, with the digests of their weights. Raises ContractError for another file."""
    record = load_run_record(file)
    if not record.teachers:
        return {}
    # In a sequence, "teachers" holds the last teacher, and "after" those before it.
    before = record.student.get("after")
    check_value(Sequence[str] | None, before, f"{file}, key student.after")
    names = [*(before or []), *(teacher.source for teacher in record.teachers)]
    return {name: record.inputs.get(f"teacher {name}") for name in names}


def _load_teacher(reader: PredictionReader, name: str, digest: str | None) -> Predictions:
    """The predictions of a source of zoo.toml, or of the run with these weights; a spec is recorded by name only."""
    if name in {source.name for source in reader.settings.sources}:
        return reader.predict(name)
    weights = reader.settings.run(name) / "model.safetensors"
    if weights.exists() and files.digest(weights) == digest:
        return predictions.load_predictions(weights.parent, labels=False)
    raise UsageError("it is no longer a source of zoo.toml or the same run", "name it with --teacher PROVIDER:NAME")


def _uptake(reference: Predictions, after: Array, name: str, logits: Array) -> TeacherUptake:
    """What a teacher, by its logits, could offer the student before, and how much of that the student after has right.

    `after`: the classes that the latter predicts.
    """
    teacher = flip_statistics.predicted_classes(logits)
    labels, count = reference.labels, len(reference.classes)
    before = flip_statistics.predicted_classes(reference.logits)
    occurring = np.flatnonzero(np.bincount(labels, minlength=count))
    gained = flip_statistics.positive_by_class(labels, before, after, count)[occurring]
    offered = flip_statistics.positive_by_class(labels, before, teacher, count)[occurring]
    both = (before != labels) & (teacher == labels) & (after == labels)
    taken = np.bincount(labels[both], minlength=count)[occurring]
    top = tuple(
        TopUptake(**{**vars(row), "classes": tuple(reference.classes[occurring[c]] for c in row.classes)})
        for row in flip_concentration.class_uptake(offered, taken, gained)
    )
    statistics = flip_statistics.teacher_statistics(labels, before, after, teacher)
    place = teacher_strength.place_teacher(labels, reference.logits, logits)
    return TeacherUptake(name, statistics, top[-1].class_transfer_rate, top, place)


def _summarize(rows: Sequence[TransferRow]) -> TransferSummary:
    deltas = [row.statistics.delta for row in rows]
    return TransferSummary(
        transfers=len(rows),
        outcomes=_count_outcomes([row.statistics.outcome for row in rows]),
        outcomes_holm=_count_outcomes([row.outcome_holm for row in rows]),
        success_rate=sum(delta > 0 for delta in deltas) / len(rows),
        mean_delta=sum(deltas) / len(rows),
        strengths=teacher_strength.summarize_strengths(
            (row.statistics, uptake.place) for row in rows for uptake in row.teachers
        ),
    )


def _count_outcomes(outcomes: Sequence[str]) -> OutcomeCounts:
    counts = Counter(outcomes)
    return OutcomeCounts(counts["success"], counts["failure"], counts["undecided"])
