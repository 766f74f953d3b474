"""`zoo distill`: flags to small students."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from zoo_cli import config, console
from zoo_cli.commands.options import (
    HERE,
    DryRun,
    Format,
    Json,
    Manifest,
    On,
    Overwrite,
    Refresh,
    RunFolder,
    RunName,
    Seeds,
    Sources,
    Student,
    Weightings,
    Workspace,
)
from zoo_cli.commands.training_flags import (
    RUN_FIELDS,
    drop_none,
    find_objective,
    flag_name,
    refuse_flags,
    with_config_flags,
)
from zoo_cli.errors import UsageError
from zoo_cli.pipeline.distill_config import CROSS_TASK, TRANSFER_OBJECTIVES, CrossTaskConfig, TransferConfig
from zoo_cli.training.run_paths import RunPaths
from zoo_cli.training.training_config import TrainingConfig

LEARN = "What to learn from"


@with_config_flags
def distill(
    *,
    objective: Annotated[
        str,
        typer.Option(
            "--objective",
            metavar="SPEC",
            help="cross-task, or for teachers with the same classes: kl, xe-kl, mcl or dp.",
            rich_help_panel=LEARN,
        ),
    ] = CROSS_TASK,
    weighting: Weightings = None,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            metavar="SPEC",
            help=f"Metric whose scores give the weights: NAME or NAME:key=value. [default: {CrossTaskConfig.metric}]",
            rich_help_panel=LEARN,
        ),
    ] = None,
    on: On = None,
    source: Sources = None,
    each_source: Annotated[
        bool, typer.Option("--each-source", help="Train one student from each source alone.", rich_help_panel=LEARN)
    ] = False,
    draws: Annotated[
        int | None,
        typer.Option(
            "--draws",
            min=1,
            metavar="N",
            help="Train N students with random source weights.",
            rich_help_panel=LEARN,
        ),
    ] = None,
    teachers: Annotated[
        str | None,
        typer.Option(
            "--teachers",
            metavar="SPEC",
            help=f"Combine several teachers: sequential, parallel or soup. [default: {TransferConfig.teachers}]",
            rich_help_panel=LEARN,
        ),
    ] = None,
    targets: Annotated[
        str | None,
        typer.Option(
            "--targets",
            metavar="NAME",
            help="Run teachers on every batch (live) or precompute their outputs (stored, stored-clean). "
            f"[default: {TransferConfig.targets}]",
            rich_help_panel=LEARN,
        ),
    ] = None,
    student: Student = None,
    init: Annotated[
        str | None,
        typer.Option(
            "--init",
            metavar="NAME",
            help="Source whose weights initialise the student's body.",
            rich_help_panel="Student",
        ),
    ] = None,
    name: RunName = None,
    training: TrainingConfig,
    lam: Annotated[
        float | None,
        typer.Option(
            "--lam",
            metavar="X",
            help=f"Share of the labels in the loss; 1: labels only. [default: {CrossTaskConfig.lam:g}]",
            rich_help_panel=LEARN,
        ),
    ] = None,
    kd_temperature: Annotated[
        float,
        typer.Option(
            "--kd-temperature", metavar="X", help="Temperature of the distillation loss.", rich_help_panel=LEARN
        ),
    ] = CrossTaskConfig.kd_temperature,
    min_weight: Annotated[
        float | None,
        typer.Option(
            "--min-weight",
            metavar="X",
            help=f"Drop sources with a smaller weight. [default: {CrossTaskConfig.min_weight:g}]",
            rich_help_panel=LEARN,
        ),
    ] = None,
    manifest: Manifest = None,
    pseudo: Annotated[
        list[Path] | None,
        typer.Option(
            "--pseudo",
            metavar="DIR",
            help="Pseudo-labels of a source, without a zoo.toml. Repeatable.",
            rich_help_panel="Files",
        ),
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option("--scores", metavar="FILE", help="Scores of the sources of --pseudo.", rich_help_panel="Files"),
    ] = None,
    out: RunFolder = None,
    seed: Seeds = None,
    overwrite: Overwrite = False,
    refresh: Refresh = False,
    dry_run: DryRun = False,
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """Train a small student from many sources.

    It learns from labels and from the pseudo-labels of sources of other tasks, or from teachers of its own classes.

    zoo distill --weighting p=2
    zoo distill --lam 1 --steps 1000
    zoo distill --each-source --seed 0 --seed 1
    zoo distill --objective dp --student file:runs/a --source b
    """
    from zoo_cli.pipeline import distill as stage

    objective_name, entry = find_objective(objective, "distill")
    for_transfer = {"teachers": teachers, "targets": targets}
    for_weights = {"weighting": weighting, "draws": draws, "metric": metric, "on": on, "min_weight": min_weight}
    for_cross_task = {**for_weights, "lam": lam, "init": init, "pseudo": pseudo, "scores": scores}
    options: CrossTaskConfig | TransferConfig
    if entry.needs_teacher:
        refuse_flags({**for_cross_task, "each_source": each_source or None}, (CROSS_TASK,), objective_name)
        options = TransferConfig(
            objective,
            sources=tuple(source or ()),
            kd_temperature=kd_temperature,
            student=student,
            **drop_none(**for_transfer),
        )
    else:
        refuse_flags(for_transfer, TRANSFER_OBJECTIVES, objective_name)
        _check_weights(for_weights, each_source=each_source, by_path=pseudo is not None)
        options = CrossTaskConfig(
            weightings=tuple(weighting or ()),
            sources=tuple(source or ()),
            each_source=each_source,
            kd_temperature=kd_temperature,
            pseudo=tuple(pseudo or ()),
            student=student,
            **drop_none(draws=draws, metric=metric, on=on, lam=lam, min_weight=min_weight, scores=scores, init=init),
        )
        if options.labels_only:
            _say_unused({**for_weights, "source": source, "pseudo": pseudo, "scores": scores})
    paths = RunPaths(name, out, tuple(seed or ()), overwrite)
    settings = config.load(workspace)
    if dry_run:
        for run in stage.preview(settings, options, training, paths, manifest):
            console.say(f"would train {run}")
        return
    results = stage.distill(settings, options, training, paths, manifest, refresh=refresh)
    console.answer("zoo.distill/1", [result.row for result in results], RUN_FIELDS, form="json" if json else form)


def _check_weights(values: Mapping[str, object], *, each_source: bool, by_path: bool) -> None:
    """Raise UsageError for flags of the weights of sources, if other flags leave them nothing to do."""
    names = [flag_name(parameter) for parameter in drop_none(**values)]
    if names and each_source:
        raise UsageError(f"{names[0]} and --each-source cannot be combined", "drop one of them")
    for flag in ("--metric", "--on"):
        if flag in names and by_path:
            raise UsageError(f"{flag} and --pseudo cannot be combined", "drop it: --scores holds one metric")


def _say_unused(values: Mapping[str, object]) -> None:
    """Name the flags that --lam 1 leaves unused."""
    if names := [flag_name(parameter) for parameter in drop_none(**values)]:
        console.say(f"--lam 1 uses labels only, not {', '.join(names)}")
