"""The answer of an evaluate command: written to --out, and printed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from zoo_cli.answer_tables import Field, Grid, plain, show_answer
from zoo_cli.store import files, parquet_files
from zoo_cli.store.columns import ARROW_TYPES

Row = dict[str, Any]
"""A row as it is printed and written."""


def print_answer(
    schema: str,
    data: Any,
    fields: Sequence[Field],
    *,
    rows: Sequence[Row],
    out: Path | None,
    form: str | None,
    table: Sequence[Row] | None = None,
    notes: Sequence[str] = (),
    meta: Mapping[str, Any] | None = None,
    types: Mapping[str, str] = MappingProxyType({}),
    grids: Sequence[Grid] = (),
) -> None:
    """Write an answer to --out, `data` as JSON or `rows` as parquet, then print it.

    `table`: the rows that every form but JSON prints; by default `rows`. `grids`: see `answer_tables.show_answer`.
    `types`: the column types, see `schemas`, of values that may all be undefined or empty.
    """
    if out is not None and out.suffix == ".json":
        files.write_json(out, {"schema": schema, "data": plain(data), "meta": {}})
    elif out is not None:
        parquet_files.write_rows(out, schema, rows, {name: ARROW_TYPES[kind] for name, kind in types.items()})
    printed = rows if table is None else table
    show_answer(schema, data, fields, form=form, meta=meta, notes=notes, table=printed, grids=grids)
