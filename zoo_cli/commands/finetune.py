"""`zoo finetune`: flags to fine-tuned models."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from zoo_cli import console, label_sets, registry
from zoo_cli.answer_tables import show_answer
from zoo_cli.commands.options import (
    HERE,
    DryRun,
    Format,
    Json,
    Labels,
    Manifest,
    Overwrite,
    Refresh,
    RunFolder,
    RunName,
    RunsShare,
    Seeds,
    Workspace,
)
from zoo_cli.commands.training_flags import RUN_FIELDS, find_objective, with_config_flags
from zoo_cli.errors import ParameterError
from zoo_cli.pipeline.finetune_config import TEMPERATURE, THRESHOLD, UNLABELLED_WEIGHT, FinetuneConfig
from zoo_cli.training.run_paths import RunPaths, RunShare
from zoo_cli.training.training_config import TrainingConfig

LEARN = "What to learn from"


@with_config_flags
def finetune(
    source: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE", help="Models: a source by name, PROVIDER:NAME, student, best or best:ARCHITECTURE."
        ),
    ],
    *,
    objective: Annotated[
        str,
        typer.Option(
            "--objective",
            metavar="NAME",
            help="supervised, or fixmatch, which also learns from unlabelled images.",
            rich_help_panel=LEARN,
        ),
    ] = FinetuneConfig.objective,
    freeze: Annotated[
        str | None,
        typer.Option(
            "--freeze",
            metavar="NAME",
            help="Part to freeze: body, to train only the new head. [default: none]",
            rich_help_panel="Student",
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            metavar="SPEC",
            help=f"Metric that selects best. [default: {registry.DEFAULT_METRIC}]",
            rich_help_panel=LEARN,
        ),
    ] = None,
    among: Annotated[
        Path | None,
        typer.Option(
            "--among",
            metavar="DIR",
            help="Folder of an expert of several domains: best is one of them. [default: all sources]",
            rich_help_panel=LEARN,
        ),
    ] = None,
    name: RunName = None,
    lr: Annotated[
        str | None,
        typer.Option(
            "--lr",
            metavar="RATE",
            help="Learning rate, or several (0.01,0.005) to try on held-out labels. [default: the objective's]",
            rich_help_panel="Training",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            metavar="X",
            help=f"fixmatch: confidence from which a prediction counts as a label. [default: {THRESHOLD:g}]",
            rich_help_panel=LEARN,
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature",
            metavar="X",
            help=f"fixmatch: temperature of its predictions. [default: {TEMPERATURE:g}]",
            rich_help_panel=LEARN,
        ),
    ] = None,
    lam: Annotated[
        float | None,
        typer.Option(
            "--lam",
            metavar="X",
            help="fixmatch: share of the labels in the loss, instead of --unlabelled-weight.",
            rich_help_panel=LEARN,
        ),
    ] = None,
    unlabelled_weight: Annotated[
        float | None,
        typer.Option(
            "--unlabelled-weight",
            metavar="X",
            help=f"fixmatch: weight of the unlabelled loss, the labelled one being 1. [default: {UNLABELLED_WEIGHT:g}]",
            rich_help_panel=LEARN,
        ),
    ] = None,
    training: TrainingConfig,
    labels: Labels = None,
    manifest: Manifest = None,
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
    """Train a pretrained model on the labels.

    zoo finetune best --lr 0.01,0.005,0.001
    zoo finetune best --among zoo/both
    zoo finetune torchvision:resnet50 --freeze body
    zoo finetune student --objective fixmatch
    """
    from zoo_cli.pipeline import finetune as stage

    options = read_config(
        {
            "source": source,
            "objective": objective,
            "freeze": freeze,
            "metric": metric,
            "among": among,
            "lr": lr,
            "lam": lam,
            "threshold": threshold,
            "temperature": temperature,
            "unlabelled_weight": unlabelled_weight,
        }
    )
    share = RunShare() if runs is None else RunShare.parse(runs)
    paths = RunPaths(name, out, tuple(seed or ()), overwrite, share)
    settings = label_sets.load_config(workspace, labels, manifest=manifest)
    if dry_run:
        for run in stage.preview(settings, options, training, paths, manifest):
            console.say(f"would train {run}")
        return
    results = stage.finetune(settings, options, training, paths, manifest, refresh=refresh)
    show_answer("zoo.finetune/1", [result.row for result in results], RUN_FIELDS, form="json" if json else form)


def read_config(flags: Mapping[str, Any]) -> FinetuneConfig:
    """What the flags that say what to train ask for, by parameter; training options are not among them."""
    objective, _ = find_objective(flags["objective"], "finetune")
    same = ("freeze", "metric", "among", "threshold", "temperature", "lam", "unlabelled_weight")
    return FinetuneConfig(
        tuple(flags["source"] or ()),
        objective=objective,
        rates=() if flags["lr"] is None else _parse_rates(flags["lr"]),
        **{name: flags[name] for name in same},
    )


def _parse_rates(text: str) -> tuple[float, ...]:
    """`0.01,0.005` as numbers."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ParameterError(f'`rates` is "{text}"', "expected a number, or several with commas between them") from None
