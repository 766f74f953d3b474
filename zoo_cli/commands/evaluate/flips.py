"""`zoo evaluate flips`."""

from pathlib import Path
from typing import Annotated

import typer

from zoo_cli.commands.evaluate.out_option import Out, check_out
from zoo_cli.commands.options import HERE, Device, Format, Json, Workers, Workspace
from zoo_cli.errors import UsageError


def flips(
    run: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="BEFORE AFTER",
            help="Run folders, models, or parquet files with id, label and logits or probs. With --all any number.",
        ),
    ] = None,
    teacher: Annotated[
        str | None, typer.Option("--teacher", metavar="RUN", help="A teacher's run, file or model, to compare with.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Compare every ordered pair of models. [default: of every finished run]")
    ] = False,
    embeddings: Annotated[
        Path | None,
        typer.Option(
            "--class-embeddings",
            metavar="FILE",
            help="Vectors of the class names (.parquet, .csv or .json), to compare the classes with flips.",
        ),
    ] = None,
    out: Out = None,
    device: Device = "auto",
    workers: Workers = None,
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """Positive and negative flips of two models.

    Positive flips are samples wrong BEFORE and right AFTER, negative flips the reverse: a row for each class, highest
    rate first, and the totals with the difference of the accuracies, its 90 % interval and the p of McNemar's exact
    test. --out also holds the ids of the flips, as lists in the row of their class. With --all a row for each ordered
    pair of models: the share of samples that the teacher has right and the student wrong, then two controls: the first
    model with random weights, and runs that differ only in their seed.

    zoo evaluate flips runs/labels-only-s0 runs/cross-task-parc-p2-s0
    zoo evaluate flips --all runs/a runs/b file:experts/c
    """
    from zoo_cli.commands.evaluate import flips_answer, pairs_answer
    from zoo_cli.pipeline.evaluate import flips as stage
    from zoo_cli.pipeline.evaluate import pairwise

    check_out(out)
    models = tuple(run or ())
    form = "json" if json else form
    if every:
        if teacher is not None or embeddings is not None:
            raise UsageError("--all takes neither --teacher nor --class-embeddings", "drop them")
        pairs = pairwise.compare_pairs(pairwise.PairsConfig(workspace, models, device, workers))
        pairs_answer.print_pairs(pairs, out, form)
        return
    if len(models) != 2:
        raise UsageError(f"expected two models, BEFORE and AFTER, not {len(models)}", "--all compares any number")
    options = stage.FlipsConfig(workspace, *models, teacher, embeddings, device, workers)
    flips_answer.print_flips(stage.compare_flips(options), out, form)
