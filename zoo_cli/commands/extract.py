"""`zoo extract`: features and logits of every source."""

from dataclasses import asdict
from typing import Annotated

import typer

from zoo_cli import config, label_sets
from zoo_cli.answer_tables import Field, show_answer
from zoo_cli.commands.note_column import add_notes
from zoo_cli.commands.options import (
    HERE,
    Device,
    DryRun,
    Format,
    Json,
    Labels,
    MaxErrors,
    Overwrite,
    Precision,
    Refresh,
    Shard,
    Workers,
    Workspace,
)
from zoo_cli.errors import UsageError
from zoo_cli.shards import parse_shard

FIELDS = (
    Field("source"),
    Field("images", style=","),
    Field("features", style="d"),
    Field("classes", style="d"),
    Field("answered", style="d"),
)


def extract(
    source: Annotated[
        list[str] | None,
        typer.Option("--source", metavar="SPEC", help="A source, by name or PROVIDER:NAME. Repeatable."),
    ] = None,
    train: Annotated[
        list[str] | None,
        typer.Option("--train", metavar="SPEC", help="Training images, without a zoo.toml. Repeatable."),
    ] = None,
    gradients: Annotated[
        bool, typer.Option("--gradients", help="Store gradients of the probe set too, for lgc.")
    ] = False,
    projection: Annotated[
        str | None,
        typer.Option("--projection", metavar="N", help="Length of projected gradients, or none. [default: 10000]"),
    ] = None,
    views: Annotated[
        int, typer.Option("--views", metavar="N", min=0, help="Store outputs on N augmented views of each image too.")
    ] = 0,
    augment: Annotated[
        str | None,
        typer.Option(
            "--augment",
            metavar="NAME",
            help="Augmentation of the views: flip, shift, crop, affine or rand. [default: crop]",
        ),
    ] = None,
    labels: Labels = None,
    batch_size: Annotated[
        str, typer.Option("--batch-size", metavar="N", help="Images per forward pass, or auto.")
    ] = "auto",
    engine: Annotated[
        str | None,
        typer.Option("--engine", metavar="NAME", help="Run the sources on a cluster: ray. [default: here]"),
    ] = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    workers: Workers = None,
    max_errors: MaxErrors = None,
    overwrite: Overwrite = False,
    refresh: Refresh = False,
    shard: Shard = None,
    dry_run: DryRun = False,
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """Store features and logits of every source.

    The student's own starting features are stored too. Each image is decoded once for all sources.

    zoo extract
    zoo extract --gradients
    zoo extract --views 4 --augment crop
    zoo extract --shard 2/8
    zoo extract --train folder:pets --source torchvision:resnet18.IMAGENET1K_V1 -C work
    """
    from zoo_cli.pipeline import extract as stage
    from zoo_cli.pipeline.extract_config import ExtractConfig

    if labels is not None and not gradients:
        raise UsageError("--labels belongs to --gradients", "features are the same for every label set")
    settings = label_sets.load_config(workspace, labels, train=train).with_task(train=train)
    sources = settings.select(source or []) if source else settings.models
    if not sources:
        raise UsageError(f"no source in {workspace / config.FILE}", "add a [[source]] table, or --source PROVIDER:NAME")
    options = ExtractConfig(
        batch_size=batch_size,
        device=device,
        precision=precision,
        workers=workers,
        max_errors=max_errors,
        gradients=gradients,
        projection=projection,
        views=views,
        augment=augment,
        overwrite=overwrite,
        refresh=refresh,
        dry_run=dry_run,
        shard=parse_shard(shard),
        engine=engine,
    )
    rows = stage.extract(settings, sources, options)
    if not dry_run:
        table, fields = add_notes([asdict(row) for row in rows], FIELDS)
        show_answer("zoo.extract/1", table, fields, form="json" if json else form)
