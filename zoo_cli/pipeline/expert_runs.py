"""The training of an expert, and the files of its folder."""

from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
import torch

from zoo_cli.models.domain_student import DomainStudent, split_student
from zoo_cli.models.student import Student
from zoo_cli.objectives.domains import DomainLabels
from zoo_cli.objectives.supervised import Objective
from zoo_cli.pipeline.expert_plan import ExpertPlan
from zoo_cli.store.model_folders import DomainRecord, read_training_data
from zoo_cli.training import expert_files, runner, source_files, students
from zoo_cli.training.batch_source import BatchSource
from zoo_cli.training.image_cache import ImageCache
from zoo_cli.training.round_plan import RoundPlan
from zoo_cli.training.rounds import make_round_batches
from zoo_cli.training.run_card import Lineage
from zoo_cli.training.run_folder import RunFolder
from zoo_cli.training.run_record import RunResult
from zoo_cli.training.run_spec import RunSpec
from zoo_cli.training.streams import IndexStreams


def train_expert(plan: ExpertPlan) -> RunResult:
    """Train the expert of a plan."""
    # Before the folder is made: a network that cannot be trained leaves nothing behind.
    student = _build_student(plan)
    return runner.train_runs([_make_spec(plan, student)], plan.training)[0]


def _make_spec(plan: ExpertPlan, student: Student) -> RunSpec:
    settings, config, domains = plan.settings, plan.config, plan.domains
    images = domains.images
    labelled, test = images.where(split=("labelled",)), images.where(split=("test",))
    sources = [source for source in (plan.source, plan.init) if source is not None]
    record = {
        "objective": "expert",
        "student": {
            "student": settings.declared(plan.source),
            "init": config.init or "",
            "domains": list(domains.names),
            "multi": config.multi or "",
        },
        "options": {} if plan.rounds is None else {"per_domain": plan.rounds.per_domain},
        "inputs": source_files.model_digests(settings, *sources),
        "task": ", ".join(domains.names),
        "asked": {"domains": list(domains.names)},
    }
    streams = IndexStreams(images, labelled, labelled[:0], (plan.training.batch_size, 0), plan.run.seed)
    return RunSpec(
        plan.run.folder,
        streams,
        plan.options,
        record,
        f"{', '.join(domains.names)} with {len(labelled):,} labels",
        build_student=lambda: student,
        build_objective=_build_objective,
        predicted=test,
        starts_from=source_files.list_trained_images(settings, *sources),
        build_batches=None if plan.rounds is None else partial(_build_batches, plan, plan.rounds),
        write_files=partial(_write_expert, plan),
    )


def _build_student(plan: ExpertPlan) -> Student:
    seed, init = plan.run.seed, plan.config.init
    student = students.build_student(plan.settings, plan.source, init, plan.domains.classes[0], seed)
    student.trained_on = tuple(dict.fromkeys([*plan.domains.names, *_trained_before(plan)]))
    if plan.config.multi is None:
        return student
    records = [DomainRecord(*pair) for pair in zip(plan.domains.names, plan.domains.classes, strict=True)]
    return split_student(student, plan.config.multi, records, seed)


def _build_batches(plan: ExpertPlan, rounds: RoundPlan, cache: ImageCache, student: Student) -> BatchSource:
    return make_round_batches(cache, _rows(plan, "labelled"), rounds, student.preprocessing, plan.training.augment)


def _rows(plan: ExpertPlan, split: str) -> list[np.ndarray]:
    """The rows of each domain in a split."""
    return [plan.domains.rows(number, split) for number in range(len(plan.domains.names))]


def _build_objective(_student: Student, _device: torch.device) -> Objective:
    return DomainLabels()


def _trained_before(plan: ExpertPlan) -> Iterator[str]:
    """The data sets that the weights from which the expert starts have seen."""
    for source in (plan.source, plan.init):
        if source is not None:
            yield from source.trained_on or read_training_data(source.model, plan.settings.root).all


def _write_expert(
    plan: ExpertPlan, run: RunFolder, expert: Student, cache: ImageCache, seen: Iterable[str] | None
) -> None:
    rows, predicted = _rows(plan, "labelled"), _rows(plan, "test")
    if isinstance(expert, DomainStudent):
        expert_files.write_experts(run, expert, cache, rows, predicted, seen)
    else:
        lineage = Lineage(len(rows[0]), 0, len(predicted[0]), source_files.list_licenses(plan.settings, plan.source))
        expert_files.write_expert(run, expert, cache, rows[0], predicted[0], seen, lineage)
