"""`zoo distill`: flags to small students."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from zoo_cli import console, label_sets
from zoo_cli.answer_tables import show_answer
from zoo_cli.commands.options import (
    HERE,
    DryRun,
    Format,
    Json,
    Labels,
    Manifest,
    On,
    Overwrite,
    Refresh,
    RunFolder,
    RunName,
    RunsShare,
    Seeds,
    Sources,
    Student,
    Views,
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
from zoo_cli.pipeline.distill_config import (
    CROSS_TASK,
    HEADS,
    TRANSFER_OBJECTIVES,
    CrossTaskConfig,
    DistillConfig,
    HeadsConfig,
    TransferConfig,
)
from zoo_cli.training.run_paths import RunPaths, RunShare
from zoo_cli.training.training_config import TrainingConfig

LEARN = "What to learn from"
OWNERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("weighting", "metric", "on", "min_weight", "lam", "init", "views"), (CROSS_TASK, HEADS)),
    **dict.fromkeys(("draws", "each_source", "pseudo", "scores"), (CROSS_TASK,)),
    **dict.fromkeys(("head", "pool"), (HEADS,)),
    **dict.fromkeys(("teachers", "targets"), TRANSFER_OBJECTIVES),
}
"""The objectives that use a flag, by its parameter; all of them use the others."""


@with_config_flags
def distill(
    *,
    objective: Annotated[
        str,
        typer.Option(
            "--objective",
            metavar="SPEC",
            help="cross-task, heads, or for teachers with the same classes: kl, xe-kl, mcl or dp.",
            rich_help_panel=LEARN,
        ),
    ] = CROSS_TASK,
    head: Annotated[
        str | None,
        typer.Option(
            "--head",
            metavar="SPEC",
            help=f"Head fitted on the features of each source, for heads. [default: {HeadsConfig.head}]",
            rich_help_panel=LEARN,
        ),
    ] = None,
    pool: Annotated[
        str | None,
        typer.Option(
            "--pool",
            metavar="SPEC",
            help=f"How the answers of the heads are combined, for heads. [default: {HeadsConfig.pool}]",
            rich_help_panel=LEARN,
        ),
    ] = None,
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
    views: Views = None,
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
            help="Share of the labels in the loss; 1: labels only. "
            f"[default: {CrossTaskConfig.lam:g}, heads {HeadsConfig.lam:g}]",
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
    labels: Labels = None,
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
    runs: RunsShare = None,
    overwrite: Overwrite = False,
    refresh: Refresh = False,
    dry_run: DryRun = False,
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """Train a small student from many sources.

    It learns from labels and from the pseudo-labels of sources of other tasks, from heads on their features, or from
    teachers of its own classes.

    zoo distill --weighting p=2
    zoo distill --objective heads
    zoo distill --lam 1 --steps 1000
    zoo distill --each-source --seed 0 --seed 1 --runs 2/8
    zoo distill --objective dp --student file:runs/a --source b
    """
    from zoo_cli.pipeline import distill as stage

    options = read_config(
        {
            "objective": objective,
            "head": head,
            "pool": pool,
            "weighting": weighting,
            "metric": metric,
            "on": on,
            "source": source,
            "each_source": each_source,
            "draws": draws,
            "teachers": teachers,
            "targets": targets,
            "views": views,
            "student": student,
            "init": init,
            "lam": lam,
            "kd_temperature": kd_temperature,
            "min_weight": min_weight,
            "pseudo": pseudo,
            "scores": scores,
        }
    )
    share = RunShare() if runs is None else RunShare.parse(runs)
    paths = RunPaths(name, out, tuple(seed or ()), overwrite, share)
    settings = label_sets.load_config(workspace, labels, manifest=manifest)
    if dry_run:
        for run in stage.preview(settings, options, training, paths, manifest):
            console.say(f"would train {run}")
        return
    results = stage.distill(settings, options, training, paths, manifest, refresh=refresh)
    show_answer("zoo.distill/1", [result.row for result in results], RUN_FIELDS, form="json" if json else form)


def read_config(flags: Mapping[str, Any]) -> DistillConfig:
    """What the flags that say what to learn from ask for, by parameter; training options are not among them.

    Raises UsageError for flags that another objective uses or that cannot be combined.
    """
    objective = flags["objective"]
    objective_name, entry = find_objective(objective, "distill")
    for_weights = {name: flags[name] for name in ("weighting", "draws", "metric", "on", "min_weight")}
    _refuse_foreign_flags(
        {**{name: flags[name] for name in OWNERS}, "each_source": flags["each_source"] or None}, objective_name
    )
    shared: dict[str, Any] = {
        "sources": tuple(flags["source"] or ()),
        "kd_temperature": flags["kd_temperature"],
        "student": flags["student"],
    }
    weights = drop_none(**{name: flags[name] for name in ("metric", "on", "lam", "min_weight", "init", "views")})
    weightings = tuple(flags["weighting"] or ())
    if entry.needs_teacher:
        return TransferConfig(objective, **shared, **drop_none(teachers=flags["teachers"], targets=flags["targets"]))
    if objective_name == HEADS:
        pools = drop_none(head=flags["head"], pool=flags["pool"])
        return HeadsConfig(objective, weightings=weightings, **shared, **weights, **pools)
    _check_weights(for_weights, each_source=flags["each_source"], by_path=flags["pseudo"] is not None)
    config = CrossTaskConfig(
        weightings=weightings,
        each_source=flags["each_source"],
        pseudo=tuple(flags["pseudo"] or ()),
        **shared,
        **weights,
        **drop_none(draws=flags["draws"], scores=flags["scores"]),
    )
    if config.labels_only:
        _say_unused({**for_weights, "source": flags["source"], "pseudo": flags["pseudo"], "scores": flags["scores"]})
    return config


def _refuse_foreign_flags(values: Mapping[str, object], objective: str) -> None:
    """Raise UsageError for a flag that another objective uses. `values`: by parameter, None if not given."""
    for parameter, value in values.items():
        if objective not in OWNERS[parameter]:
            refuse_flags({parameter: value}, OWNERS[parameter], objective)


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
