"""`zoo predict`: the classes of new images."""

from pathlib import Path
from typing import Annotated

import typer

from zoo_cli import console, label_sets
from zoo_cli.commands.options import HERE, Device, Format, Json, Labels, MaxErrors, Workers, Workspace
from zoo_cli.errors import UsageError
from zoo_cli.registry import DEFAULT_POOL


def predict(
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="A run by folder or name, or a model as PROVIDER:NAME.")
    ] = None,
    *,
    data: Annotated[
        list[str], typer.Option("--data", metavar="SPEC", help="Images, with or without labels. Repeatable.")
    ],
    heads: Annotated[
        bool, typer.Option("--heads", help="Answer by the stored pool of heads, instead of a run.")
    ] = False,
    head: Annotated[
        str | None, typer.Option("--head", metavar="SPEC", help="Heads of the pool. [default: ridge]")
    ] = None,
    pool: Annotated[
        str | None, typer.Option("--pool", metavar="SPEC", help=f"Pool of the heads. [default: {DEFAULT_POOL}]")
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option("--source", metavar="NAME", help="A source of the pool. Repeatable. [default: all]"),
    ] = None,
    labels: Labels = None,
    with_student: Annotated[
        bool, typer.Option("--with-student", help="The pool has a head on the student's initial features too.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write all probabilities to a .parquet, .csv or .tsv file."),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", metavar="N", help="Images per forward pass. [default: 256; sources: 64]"),
    ] = None,
    device: Device = "auto",
    workers: Workers = None,
    max_errors: MaxErrors = None,
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """Predict the classes of new images.

    By a trained student, or with --heads by the pool that `zoo pseudo-label --head` stored, whose sources are run on
    the images. Images need no labels. Those that cannot be read are named and left out.

    zoo predict runs/a --data folder:new
    zoo predict a --data folder:new --out predictions.parquet
    zoo predict --heads --data csv:new.csv --out predictions.csv
    """
    from zoo_cli.commands.predict_answer import print_predictions
    from zoo_cli.pipeline import predict as stage

    if labels is not None and run is not None:
        raise UsageError("--labels belongs to --heads", "a run knows what it learned from")
    if heads == (run is not None):
        raise UsageError("expected a run, or --heads", "zoo evaluate accuracy lists the finished runs")
    settings = label_sets.load_config(workspace, labels)
    options = stage.PredictConfig(
        tuple(data),
        run=run,
        head=head,
        pool=pool,
        sources=tuple(source or ()),
        with_student=with_student,
        out=out,
        device=device,
        batch_size=batch_size,
        workers=workers,
        max_errors=max_errors,
        csv_safe=console.current().csv_safe,
    )
    result = stage.predict(settings, options)
    print_predictions(result, "json" if json else form)
    stage.record_failures(settings, options, result)
