"""`zoo pseudo-label`: store the class probabilities of every source."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from zoo_cli import config, console
from zoo_cli.commands.options import HERE, Format, Json, Overwrite, Refresh, Sources, Workspace
from zoo_cli.config import STUDENT
from zoo_cli.errors import UsageError

FIELDS = (console.Field("source"), console.Field("images", style=","), console.Field("classes", style="d"))


def pseudo_label(
    source: Sources = None,
    features: Annotated[
        Path | None,
        typer.Option("--features", metavar="FILE", help="Stored outputs, without a zoo.toml; needs --out."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder of the pseudo-labels of --features.")
    ] = None,
    output: Annotated[
        str,
        typer.Option("--output", metavar="NAME", help="Activation of the logits of --features: softmax or sigmoid."),
    ] = "softmax",
    overwrite: Overwrite = False,
    refresh: Refresh = False,
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """Store the soft targets of every source.

    They are its class probabilities on the labelled and unlabelled images.

    zoo pseudo-label
    zoo pseudo-label --features theirs.parquet --out pseudo/source=theirs
    """
    from zoo_cli.pipeline import pseudo_label as stage

    settings = config.load(workspace)
    if features is not None:
        if out is None:
            raise UsageError("--features needs --out, the folder of its pseudo-labels")
        rows = [stage.pseudo_label_file(features, out, output, overwrite=overwrite)]
    elif out is not None:
        raise UsageError("--out needs --features", "a workspace stores them in pseudo/source=NAME")
    else:
        sources = [model for model in settings.select(source or []) if model.name != STUDENT]
        if not sources:
            raise UsageError(f"no source in {settings.root / config.FILE}", "add a [[source]] table, or use --features")
        rows = stage.pseudo_label(settings, sources, overwrite=overwrite, refresh=refresh)
    console.answer("zoo.pseudo-label/1", [asdict(row) for row in rows], FIELDS, form="json" if json else form)
