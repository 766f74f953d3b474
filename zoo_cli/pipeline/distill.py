"""`zoo distill`: one small student, from the pseudo-labels of many sources or from teachers of its own classes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from zoo_cli import config, console, registry, specs
from zoo_cli.commands.options import (
    HERE,
    Augment,
    BatchSize,
    CheckpointEvery,
    Device,
    DryRun,
    Epochs,
    Format,
    Json,
    Manifest,
    MaxTime,
    Momentum,
    On,
    Overwrite,
    Precision,
    Recalibrate,
    RunFolder,
    RunName,
    Schedule,
    Seeds,
    Sources,
    Steps,
    Student,
    UnlabelledFrom,
    Warmup,
    WeightDecay,
    Weightings,
    Workers,
    Workspace,
)
from zoo_cli.errors import UsageError
from zoo_cli.pipeline import cross_task_runs, rank, runner, students, training_options, transfer_runs
from zoo_cli.pipeline.training_options import RunPaths

LAM, MIN_WEIGHT = 0.8, 1e-4
DEFAULT_OBJECTIVE = "cross-task"


def distill(
    objective: Annotated[
        str, typer.Option("--objective", help="cross-task, or of teachers with the same classes: kl, xe-kl, mcl or dp.")
    ] = DEFAULT_OBJECTIVE,
    weighting: Weightings = None,
    metric: Annotated[str | None, typer.Option("--metric", help="NAME or NAME:key=value. Default: parc.")] = None,
    on: On = None,
    source: Sources = None,
    each_source: Annotated[
        bool, typer.Option("--each-source", help="A run for each source, which has all the weight in it.")
    ] = False,
    draws: Annotated[int | None, typer.Option("--draws", min=1, help="So many runs with random weights.")] = None,
    teachers: Annotated[
        str | None,
        typer.Option("--teachers", help="Of several: sequential, parallel or soup. Default: sequential."),
    ] = None,
    targets: Annotated[
        str | None,
        typer.Option("--targets", help="Teachers are asked live, or once: stored, stored-clean. Default: live."),
    ] = None,
    student: Student = None,
    init: Annotated[
        str | None, typer.Option("--init", help="A source whose weights the student's body starts from.")
    ] = None,
    name: RunName = None,
    steps: Steps = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lam: Annotated[
        float | None, typer.Option("--lam", help="Share of the labels in the loss; 1 is labels only. Default: 0.8.")
    ] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="Learning rate. Default: the objective's.")] = None,
    momentum: Momentum = 0.9,
    weight_decay: WeightDecay = 1e-4,
    schedule: Schedule = None,
    warmup: Warmup = 0,
    augment: Augment = None,
    kd_temperature: Annotated[
        float, typer.Option("--kd-temperature", help="Softens both sides of distillation.")
    ] = 1.0,
    min_weight: Annotated[
        float | None, typer.Option("--min-weight", help="Sources below it are left out. Default: 0.0001.")
    ] = None,
    unlabelled_from: UnlabelledFrom = "all",
    recalibrate: Recalibrate = False,
    checkpoint_every: CheckpointEvery = 500,
    max_time: MaxTime = None,
    manifest: Manifest = None,
    pseudo: Annotated[
        list[Path] | None, typer.Option("--pseudo", help="Pseudo-labels, without a zoo.toml. Repeats.")
    ] = None,
    scores: Annotated[Path | None, typer.Option("--scores", help="Scores of the sources of --pseudo.")] = None,
    out: RunFolder = None,
    seed: Seeds = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    workers: Workers = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """Train a student from labels and pseudo-labels of other tasks, or from teachers of its own task.

    zoo distill --weighting p=2
    zoo distill --lam 1 --steps 1000
    zoo distill --each-source --seed 0 --seed 1
    zoo distill --objective dp --student file:runs/a --source b
    """
    settings = config.load(workspace)
    method = specs.resolve("objective", objective)
    facts = registry.OBJECTIVES[method.name]
    if facts.command != "distill":
        raise UsageError(f"{method.name} trains with labels, not sources", f"zoo finetune --objective {method.name}")
    _check_flags(
        method.name,
        facts.needs_teacher,
        {
            "--weighting": weighting,
            "--metric": metric,
            "--on": on,
            "--each-source": each_source or None,
            "--draws": draws,
            "--init": init,
            "--lam": lam,
            "--min-weight": min_weight,
            "--pseudo": pseudo,
            "--scores": scores,
        },
        {"--teachers": teachers, "--targets": targets},
    )
    _check_weighing(
        each_source,
        lam,
        {
            "--weighting": weighting,
            "--draws": draws,
            "--metric": metric,
            "--on": on,
            "--min-weight": min_weight,
        },
        {"--source": source, "--pseudo": pseudo, "--scores": scores},
    )
    going = training_options.resolve_training(
        facts,
        steps=steps,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        momentum=momentum,
        weight_decay=weight_decay,
        schedule=schedule,
        warmup=warmup,
        augment=augment,
        unlabelled_from=unlabelled_from,
        recalibrate=recalibrate,
        precision=precision,
        checkpoint_every=checkpoint_every,
        max_time=max_time,
        device=device,
        workers=workers,
        overwrite=overwrite,
    )
    learner = students.select_student(settings, student)
    students.check_networks(settings, learner, init)
    places = RunPaths(settings, tuple([settings.task.seed] if seed is None else seed), name, out)
    places.check()
    if facts.needs_teacher:
        wanted = transfer_runs.TransferConfig(method, facts, tuple(source or ()), teachers, targets, kd_temperature)
        wanted.check(going)
        kinds = [wanted.name(settings)]
    else:
        random = [f"random:seed={number}" for number in range(draws or 0)]
        given = [*(weighting or ()), *random] or ([] if each_source else [rank.DEFAULT_WEIGHTING])
        asked = cross_task_runs.CrossTaskConfig(
            tuple(given),
            metric or rank.DEFAULT_METRIC,
            on,
            tuple(source or ()),
            each_source,
            LAM if lam is None else lam,
            kd_temperature,
            MIN_WEIGHT if min_weight is None else min_weight,
            tuple(pseudo or ()),
            scores,
        )
        asked.check()
        kinds = asked.names(settings)
    paths = [path for path, _ in places.of(kinds)]
    if dry_run and manifest is None and not settings.manifest.exists():
        console.say(f"would train {', '.join(map(str, paths))}, after zoo split and whatever else is missing")
        return
    images, classes = training_options.load_task(settings, manifest, workers)
    if dry_run:
        first = wanted if facts.needs_teacher else asked
        _, options = first.length(going, images, places.seeds[0])
        for path in paths:
            console.say(f"would train {path}: {runner.describe_length(options, going)}")
        return
    if facts.needs_teacher:
        rows = transfer_runs.train_transfer(settings, wanted, going, places, images, classes, learner)
    else:
        rows = cross_task_runs.train_cross_task(settings, asked, going, places, images, classes, learner, init)
    console.answer("zoo.distill/1", rows, runner.FIELDS, form="json" if json else form)


def _check_flags(objective: str, taught: bool, ours: Mapping[str, object], theirs: Mapping[str, object]) -> None:
    """Raise UsageError for a flag that the other kind of objective understands."""
    strange, owner = (ours, DEFAULT_OBJECTIVE) if taught else (theirs, "kl, xe-kl, mcl or dp")
    for flag, value in strange.items():
        if value is not None:
            raise UsageError(f"{flag} belongs to --objective {owner}", f"{objective} does not know it")


def _check_weighing(
    each_source: bool, lam: float | None, weighing: Mapping[str, object], sources: Mapping[str, object]
) -> None:
    """Raise UsageError for flags of the weights where nothing is weighed by them; say which are idle with labels only.

    `sources`: the flags that say what there is to learn from.
    """
    given = [flag for flag, value in weighing.items() if value is not None]
    if given and each_source:
        raise UsageError(f"{given[0]} weighs sources, --each-source gives each all the weight", "leave one of them out")
    for flag in ("--metric", "--on"):
        if weighing[flag] is not None and sources["--pseudo"] is not None:
            raise UsageError(f"{flag} is of the scores of zoo.toml, --scores says it for --pseudo", "leave it out")
    given += [flag for flag, value in sources.items() if value is not None]
    if given and lam == 1:
        console.say(f"--lam 1 is labels only: {', '.join(given)} play{'s' * (len(given) == 1)} no part")
