"""`zoo tune`: flags to a search among ways to train the student."""

from pathlib import Path
from typing import Annotated

import typer

from zoo_cli import console, label_sets
from zoo_cli.answer_tables import check_format
from zoo_cli.commands.options import (
    HERE,
    DryRun,
    Format,
    Json,
    Labels,
    Overwrite,
    Refresh,
    Seed,
    Sources,
    Student,
    Workspace,
)
from zoo_cli.commands.training_flags import with_config_flags
from zoo_cli.pipeline.tune_config import TuneConfig
from zoo_cli.training.training_config import TrainingConfig


@with_config_flags
def tune(
    *,
    candidates: Annotated[
        Path | None,
        typer.Option(
            "--candidates",
            metavar="FILE",
            help="TOML file of [[candidate]] tables: objective, lam, lr, augment, pool, ... [default: a built-in list]",
            rich_help_panel="What to learn from",
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            metavar="N",
            help="Number of runs, or time of their training, e.g. 30m. [default: 20 splits of the labels]",
            rich_help_panel="Training",
        ),
    ] = None,
    source: Sources = None,
    student: Student = None,
    training: TrainingConfig,
    seed: Seed = None,
    overwrite: Overwrite = False,
    refresh: Refresh = False,
    dry_run: DryRun = False,
    form: Format = None,
    json: Json = False,
    labels: Labels = None,
    workspace: Workspace = HERE,
) -> None:
    """Choose how to train, on held-out labels.

    Candidates train without a part of the labels and are judged on it. The best one then trains on all labels, if it
    is certain to be better than labels only; else labels only does. The same command in several jobs shares the runs.

    zoo tune
    zoo tune --budget 30m
    zoo tune --candidates candidates.toml --budget 100 --steps 1000
    zoo tune --dry-run
    """
    from zoo_cli.commands.tune_answer import print_search
    from zoo_cli.pipeline import tune as stage

    check_format(form)
    config = TuneConfig(candidates, budget, tuple(source or ()), student, seed)
    settings = label_sets.load_config(workspace, labels)
    if dry_run:
        for line in stage.preview(settings, config, training):
            console.say(f"would try {line}")
        return
    print_search(stage.tune(settings, config, training, overwrite=overwrite, refresh=refresh), "json" if json else form)
