"""`zoo show`: an artifact as a table of keys and values."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from zoo_cli.answer_tables import Field, Grid, show_answer
from zoo_cli.commands.options import HERE, Format, Json, Labels, Workspace

FIELDS = (Field("key"), Field("value", free=True))
WIDTH = 120
"""Characters of a value that a table shows."""
CELL, NUMBER = 32, ".6g"
"""Characters of a value in the first rows of a file, and the format of its numbers."""


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

    artifact = describe_artifact(path, workspace, labels)
    rows = [{"key": key, "value": _shorten(value)} for key, value in artifact.entries.items()]
    grids = _show_rows(artifact.path, rows, artifact.first_rows)
    show_answer("zoo.show/1", artifact.entries, FIELDS, form="json" if json else form, table=rows, grids=grids)


def _show_rows(path: Path, entries: Sequence[Mapping[str, str]], first_rows: Sequence[Mapping[str, Any]]) -> list[Grid]:
    """What is known of a file, and its first rows below; nothing for a file without rows."""
    if not first_rows:
        return []
    fields = [Field(name, style=NUMBER if _is_number(first_rows, name) else "") for name in first_rows[0]]
    rows = [
        {key: value if isinstance(value, float | int | None) else _shorten(value, CELL) for key, value in row.items()}
        for row in first_rows
    ]
    return [
        Grid(str(path), entries, FIELDS),
        Grid(f"the first {len(rows)} rows" if len(rows) > 1 else "the first row", rows, fields),
    ]


def _is_number(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    values = [row[name] for row in rows if row[name] is not None]
    return bool(values) and all(isinstance(value, float | int) and not isinstance(value, bool) for value in values)


def _shorten(value: Any, width: int = WIDTH) -> str:
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    if isinstance(value, dict):
        text = ", ".join(f"{key} {_shorten(item)}" for key, item in value.items())
    else:
        text = ", ".join(map(_shorten, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= width else text[:width] + " …"
