"""The training of an expert, and the files of its folder."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from zoo_cli.models.student import Student
from zoo_cli.objectives.domains import DomainLabels
from zoo_cli.objectives.supervised import Objective
from zoo_cli.pipeline.expert_plan import ExpertPlan
from zoo_cli.store import image_lists
from zoo_cli.store.model_folders import read_training_data
from zoo_cli.training import expert_files, runner, source_files, students
from zoo_cli.training.image_cache import ImageCache
from zoo_cli.training.run_folder import RunFolder
from zoo_cli.training.run_record import RunResult
from zoo_cli.training.runner import RunSpec
from zoo_cli.training.streams import IndexStreams


def train_expert(plan: ExpertPlan) -> RunResult:
    """Train the expert of a plan."""
    return runner.train_runs([_make_spec(plan)], plan.training)[0]


def _make_spec(plan: ExpertPlan) -> RunSpec:
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
        build_student=partial(_build_student, plan),
        build_objective=_build_objective,
        predicted=test,
        write_files=partial(_write_expert, plan),
    )


def _build_student(plan: ExpertPlan) -> Student:
    seed, init = plan.run.seed, plan.config.init
    student = students.build_student(plan.settings, plan.source, init, plan.domains.classes[0], seed)
    student.trained_on = tuple(dict.fromkeys([*plan.domains.names, *_trained_before(plan)]))
    return student


def _build_objective(_student: Student, _device: torch.device) -> Objective:
    return DomainLabels()


def _trained_before(plan: ExpertPlan) -> Iterator[str]:
    """The data sets that the weights from which the expert starts have seen."""
    for source in (plan.source, plan.init):
        if source is not None:
            yield from source.trained_on or read_training_data(source.model, plan.settings.root).all


def _list_seen(plan: ExpertPlan) -> set[str]:
    """The digests of all images that the expert was trained on, also by the weights from which it starts."""
    images, root = plan.domains.images, plan.settings.root
    seen = set(map(str, images.sha256[images.split == "labelled"]))
    for source in (plan.source, plan.init):
        if source is not None:
            for path in image_lists.find_image_lists(root, source.name, source.model, ""):
                seen |= set(image_lists.read_image_list(path))
    return seen


def _write_expert(plan: ExpertPlan, run: RunFolder, expert: Student, cache: ImageCache) -> None:
    images = plan.domains.images
    rows, predicted = np.flatnonzero(images.split == "labelled"), np.flatnonzero(images.split == "test")
    expert_files.write_expert(run, expert, cache, rows, predicted, _list_seen(plan))
