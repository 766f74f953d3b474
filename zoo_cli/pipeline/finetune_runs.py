"""The runs of fine-tuning, and their sweeps over learning rates."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from zoo_cli import devices, registry
from zoo_cli.config import Source
from zoo_cli.label_sets import asked_labels
from zoo_cli.models.student import Student
from zoo_cli.objectives.supervised import Objective
from zoo_cli.pipeline.finetune_config import FinetuneConfig
from zoo_cli.pipeline.finetune_plan import count_steps, load_streams
from zoo_cli.pipeline.training_task import TrainingTask
from zoo_cli.training import runner, source_files, students, sweep
from zoo_cli.training.run_paths import RunPaths
from zoo_cli.training.run_record import RunResult
from zoo_cli.training.run_spec import RunSpec
from zoo_cli.training.streams import IndexStreams


def train_finetune(
    config: FinetuneConfig, task: TrainingTask, sources: Sequence[Source], paths: RunPaths
) -> list[RunResult]:
    """Train a student for each source and seed; each by a sweep if there are several learning rates."""
    training = task.training
    specs = paths.share.take(make_run_specs(config, task, sources, paths))
    if len(config.rates) <= 1 or not specs:
        return runner.train_runs(specs, training)
    device = devices.choose(training.device, purpose="training")
    runner.check_runs(specs, training, device)
    cache = runner.cache_images(specs, device, training)
    makers = paths.share.take(_make_makers(config, task, sources, paths))
    return [
        sweep.run_sweep(spec, config.rates, make, training, cache) for make, spec in zip(makers, specs, strict=True)
    ]


def make_run_specs(
    config: FinetuneConfig, task: TrainingTask, sources: Sequence[Source], paths: RunPaths
) -> list[RunSpec]:
    """The run of each source and seed."""
    runs = paths.resolve(task.settings, [config.run_name(source.name) for source in sources])
    return [
        make(
            run.folder,
            load_streams(config, task, run.seed),
            task.training.loop.lr,
            rates=config.rates if len(config.rates) > 1 else (),
        )
        for make, run in zip(_make_makers(config, task, sources, paths), runs, strict=True)
    ]


def _make_makers(
    config: FinetuneConfig, task: TrainingTask, sources: Sequence[Source], paths: RunPaths
) -> list[partial[RunSpec]]:
    """What makes the runs of each source and seed, see `sweep.SpecMaker`."""
    asked = zip(config.sources, sources, strict=True)
    repeated = [each for each in asked for _ in paths.task_seeds(task.settings)]
    return [partial(_make_spec, config, task, source, model) for model, source in repeated]


def _make_spec(
    config: FinetuneConfig,
    task: TrainingTask,
    source: Source,
    model: str,
    path: Path,
    streams: IndexStreams,
    lr: float,
    *,
    predicted: np.ndarray | None = None,
    rates: Sequence[float] = (),
) -> RunSpec:
    """The run of a source, which the user asked for as `model`, see `sweep.SpecMaker`."""
    settings = task.settings
    record = {
        "objective": config.objective,
        "source": source.name,
        "student": {"student": settings.declared(source), "freeze": config.freeze or ""},
        "options": {**config.parameters, **(sweep.recorded_sweep(rates) if rates else {})},
        "inputs": source_files.model_digests(settings, source),
        "task": settings.task.name,
        "asked": {"source": model, **_asked_among(config), **asked_labels(settings)},
    }
    return RunSpec(
        path,
        streams,
        replace(count_steps(task, streams), lr=lr),
        record,
        f"{source.name} with {len(streams.labelled):,} labels",
        build_student=partial(_build_student, config, task, source, streams.seed),
        build_objective=partial(_build_objective, config),
        predicted=task.images.where(split=("test",)) if predicted is None else predicted,
        strong_views=config.uses_unlabelled,
        starts_from=source_files.list_trained_images(settings, source),
        licenses=source_files.list_licenses(settings, source),
    )


def _asked_among(config: FinetuneConfig) -> dict[str, str]:
    """The folder among whose domains the best was asked for, as run.json holds what was asked."""
    return {} if config.among is None else {"among": config.among.name}


def _build_student(config: FinetuneConfig, task: TrainingTask, source: Source, seed: int) -> Student:
    own = source == task.settings.student
    student = students.build_student(task.settings, source, None, task.classes, seed, untrained=own)
    if config.freeze:
        student.freeze_body()
    return student


def _build_objective(config: FinetuneConfig, _student: Student, _device: torch.device) -> Objective:
    parameters = {name: value for name, value in config.parameters.items() if value is not None}
    objective: Objective = registry.load(config.entry)(**parameters)
    return objective
