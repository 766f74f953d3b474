"""`zoo show`: an artifact as a table of keys and values."""

from pathlib import Path
from typing import Annotated, Any

import typer

from zoo_cli import console
from zoo_cli.commands.options import HERE, Format, Json, Labels, Workspace

FIELDS = (console.Field("key"), console.Field("value", free=True))
WIDTH = 120
"""Characters of a value that a table shows."""


def show(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A file or run of the workspace, or any parquet file.")],
    labels: Labels = None,
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """Show an artifact and what it was made from.

    zoo show manifest.parquet
    zoo show runs/cross-task-parc-p2-s0
    zoo show ranking.parquet --labels few
    """
    from zoo_cli.pipeline.show import describe_artifact

    entries = describe_artifact(path, workspace, labels).entries
    rows = [{"key": key, "value": _shorten(value)} for key, value in entries.items()]
    console.answer("zoo.show/1", entries, FIELDS, form="json" if json else form, table=rows)


def _shorten(value: Any) -> str:
    if isinstance(value, dict):
        text = ", ".join(f"{key} {_shorten(item)}" for key, item in value.items())
    else:
        text = ", ".join(map(_shorten, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= WIDTH else text[:WIDTH] + " …"
