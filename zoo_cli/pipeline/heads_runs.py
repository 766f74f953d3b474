"""The runs of distillation from heads: labels, a pool's answers in the task's classes, optionally pseudo-labels."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoo_cli.errors import ContractError
from zoo_cli.label_sets import asked_labels
from zoo_cli.models.student import Student
from zoo_cli.objectives.supervised import Objective
from zoo_cli.pipeline.cross_task_runs import weigh_sources
from zoo_cli.pipeline.distill_plans import HeadsPlan
from zoo_cli.pipeline.stored_targets import PseudoLabels, StoredTargets, describe_targets, describe_views, digest_views
from zoo_cli.pipeline.training_task import TrainingTask
from zoo_cli.store import feature_files, files, head_store, view_store
from zoo_cli.store.records import build_record
from zoo_cli.training import runner, source_files, students
from zoo_cli.training.run_paths import RunPaths
from zoo_cli.training.run_record import RunResult, WeighedSource
from zoo_cli.training.run_spec import RunSpec


@dataclass(frozen=True)
class _PoolSources:
    """What a run needs of a _head.json."""

    sources: Sequence[Mapping[str, Any]]


def train_heads(plan: HeadsPlan, task: TrainingTask, paths: RunPaths) -> list[RunResult]:
    """Train a student for each weighting of the cross-task term, one without it, and each seed.

    The answers of the pool must exist, and scores and pseudo-labels if that term needs them. Raises ContractError if
    the answers have another number of classes than the task.
    """
    return runner.train_runs(paths.share.take(make_run_specs(plan, task, paths)), task.training)


def make_run_specs(plan: HeadsPlan, task: TrainingTask, paths: RunPaths) -> list[RunSpec]:
    """The run of each student and seed of `train_heads`."""
    settings, config = plan.settings, plan.config
    stored = StoredTargets(task.images)
    pool = _load_pool(plan)
    pool_weights = _load_weights(pool.path)
    terms = weigh_sources(settings, plan.rankings, plan.sources, plan.views) or [[]]
    chosen = [source.name for source in plan.sources] if plan.labels.chosen else []
    asked = [ranking.as_asked(chosen) for ranking in plan.rankings] or [{"sources": chosen} if chosen else {}]
    runs = paths.resolve(settings, plan.names())
    init = () if config.init is None else settings.select([config.init])
    digests = source_files.model_digests(settings, plan.student, *init)
    starts_from = source_files.list_trained_images(settings, *(init or [plan.student]))
    specs: list[RunSpec] = []
    repeated = [each for each in zip(terms, asked, strict=True) for _ in paths.task_seeds(settings)]
    for (sources, term_asked), run in zip(repeated, runs, strict=True):
        streams, options = plan.streams(task, run.seed)
        width = stored.read(pool, streams.unlabelled).shape[-1]
        if width != len(task.classes):
            raise ContractError(
                f"{pool.path} answers in {width} classes, the task has {len(task.classes)}",
                "zoo pseudo-label --head makes it again",
            )
        record = {
            "objective": plan.method.spec,
            "student": {"student": settings.declared(plan.student), "init": config.init or ""},
            "options": _record_options(plan, sources),
            "weights": pool_weights,
            "inputs": {
                **digests,
                "answers of the pool": pool.digest,
                **{f"pseudo-labels of {source.name}": source.digest for source in sources},
            },
            "task": settings.task.name,
            "asked": {**term_asked, **asked_labels(settings)},
        }
        targets = (pool, *sources)
        specs.append(
            RunSpec(
                run.folder,
                streams,
                options,
                record,
                f"from the pool {pool.name}" + (f", and {describe_targets(sources)}" if sources else ""),
                build_student=partial(_build_student, plan, task.classes, run.seed),
                build_objective=partial(_build_objective, plan, sources, stored, streams.unlabelled, run.seed),
                predicted=task.images.where(split=("test",)),
                load_targets=partial(stored.concatenate, targets, streams.unlabelled),
                views=plan.views,
                starts_from=starts_from,
                licenses=source_files.list_licenses(settings, plan.student, [source.name for source in sources]),
            )
        )
    return specs


def _load_pool(plan: HeadsPlan) -> PseudoLabels:
    """The stored answers of the pool, as the pseudo-labels of one source."""
    if plan.views is not None:
        folder = view_store.answers_folder(plan.settings, plan.labels.slug)
        digest = digest_views(folder, plan.views)
        return PseudoLabels(plan.labels.slug, folder, 1.0, "softmax", digest, plan.views.count)
    folder = plan.settings.pseudo_head(plan.labels.slug)
    return PseudoLabels(plan.labels.slug, folder, 1.0, "softmax", feature_files.content_digest(folder))


def _load_weights(folder: Path) -> list[dict[str, Any]]:
    """The sources of a pool and their weights, as rows of run.json."""
    path, again = folder / head_store.DOCUMENT, "zoo pseudo-label --head makes it again"
    rows = build_record(_PoolSources, files.read_json(path), path, again, extra_keys=True).sources
    return [asdict(build_record(WeighedSource, row, f'"sources" in {path}', again, extra_keys=True)) for row in rows]


def _record_options(plan: HeadsPlan, sources: Sequence[PseudoLabels]) -> dict[str, Any]:
    config = plan.config
    options: dict[str, Any] = {
        "lam": config.lam,
        "head": config.head,
        "pool": config.pool,
        **describe_views(plan.views),
    }
    if sources:
        options["kd_temperature"] = config.kd_temperature
        options["cross_task_weights"] = {source.name: source.weight for source in sources}
    return options


def _build_student(plan: HeadsPlan, classes: tuple[str, ...], seed: int) -> Student:
    """With `init`, a body of that source and a new head; else the student as it is, with the task's classes."""
    settings, init = plan.settings, plan.config.init
    if init is not None:
        return students.build_student(settings, plan.student, init, classes, seed)
    return students.continue_student(settings, plan.student, classes, seed)


def _build_objective(
    plan: HeadsPlan,
    sources: Sequence[PseudoLabels],
    stored: StoredTargets,
    rows: np.ndarray,
    seed: int,
    student: Student,
    _device: torch.device,
) -> Objective:
    """Distillation from the pool, with a temporary head for each source of the cross-task term."""
    objective: Objective = plan.method.function(
        student.features_dim,
        len(student.classes),
        [stored.read(source, rows).shape[-1] for source in sources],
        [source.output for source in sources],
        [source.weight for source in sources],
        torch.Generator().manual_seed(seed),
        lam=plan.config.lam,
        temperature=plan.config.kd_temperature,
        **plan.method.params,
    )
    return objective
