"""The answer of a command: its rows as a table, JSON, CSV, TSV or Markdown."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoo_cli import console
from zoo_cli.errors import UsageError
from zoo_cli.json_layout import to_indented_json
from zoo_cli.quantities import percent
from zoo_cli.text_escapes import markdown, printable, spreadsheet_text
from zoo_cli.text_table import render_delimited, render_markdown, render_table

FORMATS = ("table", "json", "csv", "tsv", "md")


@dataclass(frozen=True)
class Field:
    """A column of an answer: its key in the rows, and its title and format in a table.

    `free`: text that says something, and not a number or a name: a narrow terminal cuts it.
    """

    key: str
    title: str = ""
    style: str = ""  # "", "percent", "score" or a format such as ".2f"
    free: bool = False


@dataclass(frozen=True)
class Grid:
    """One of several tables of an answer. `keys`: the first columns, repeated where a narrow terminal splits it."""

    title: str
    rows: Sequence[Mapping[str, Any]]
    fields: Sequence[Field]
    keys: int = 1


def show_answer(
    schema: str,
    rows: Any,
    fields: Sequence[Field],
    *,
    form: str | None,
    meta: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    table: Sequence[Mapping[str, Any]] | None = None,
    grids: Sequence[Grid] = (),
) -> None:
    """Print the answer of a command as table, json, csv, tsv or md; by default a table on a terminal, TSV in a pipe.

    `rows`: the whole answer, as JSON shows it. `table`: the rows of the other forms, if they differ. `grids`: tables
    that a terminal and Markdown show in place of these rows. `notes` stand below a table and go to stderr in every
    other form. Raises UsageError for an unknown form.
    """
    current = console.current()
    terminal = console.is_terminal(current.out)
    form = form or ("table" if terminal else "tsv")
    check_format(form)
    if form == "json":
        current.answer(to_indented_json({"schema": schema, "data": plain(rows), "meta": plain(dict(meta or {}))}))
        for note in notes:
            current.detail(note)
        return
    lines = rows if table is None else table
    if grids and form in ("table", "md"):
        current.answer("\n\n".join(_grid(grid, form, terminal) for grid in grids))
        for note in notes:
            current.answer(printable(note)) if form == "table" else current.say(note)
        return
    if form == "table":
        current.answer(_table(lines, fields, terminal))
        for note in notes:
            current.answer(printable(note))
        return
    current.answer(_delimited(lines, fields, form))
    for note in notes:
        current.say(note)


def check_format(form: str | None) -> None:
    """Raise UsageError for an unknown form of answers, before any work."""
    if form is not None and form not in FORMATS:
        raise UsageError(f'no format "{form}"', f"one of: {', '.join(FORMATS)}")


def check_csv_safe(form: str | None, out: object = None) -> None:
    """Raise UsageError if --csv-safe has no csv or tsv to act on, neither the answer nor the file `out`."""
    form = form or ("table" if console.is_terminal(console.current().out) else "tsv")
    if form not in ("csv", "tsv") and not str(out).endswith((".csv", ".tsv")):
        raise UsageError(f"--csv-safe is for csv and tsv, not {form}", "add --format csv")


def plain(value: Any) -> Any:
    """A value as JSON holds it: undefined is null, arrays are lists."""
    if type(value) is float:  # most values of a large answer
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _cell(value: Any, style: str) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    if style == "percent":
        return percent(value)
    if style == "score":
        return f"{value:.4f}"
    return format(value, style) if style else printable(str(value))


def _table(rows: Sequence[Mapping[str, Any]], fields: Sequence[Field], terminal: bool) -> str:
    names = next((position for position, column in enumerate(fields) if not column.style), 0)
    return _render(rows, fields, names + 1, terminal)


def _render(rows: Sequence[Mapping[str, Any]], fields: Sequence[Field], keys: int, terminal: bool) -> str:
    cells = [[_cell(row.get(column.key), column.style) for column in fields] for row in rows]
    numbers, free = [bool(column.style) for column in fields], [column.free for column in fields]
    return render_table(_titles(fields), cells, numbers, free, keys, terminal)


def _titles(fields: Sequence[Field]) -> list[str]:
    return [printable(column.title or column.key) for column in fields]


def _grid(grid: Grid, form: str, terminal: bool) -> str:
    title = printable(grid.title)
    if form == "md":
        return f"{title}\n\n{_delimited(grid.rows, grid.fields, form)}"
    return f"{title}\n{_render(grid.rows, grid.fields, grid.keys, terminal)}"


def _delimited(rows: Sequence[Mapping[str, Any]], fields: Sequence[Field], form: str) -> str:
    if form == "md":
        # People read Markdown: values as in a table.
        cells = [[_markdown_cell(row.get(column.key), column.style) for column in fields] for row in rows]
        return render_markdown(list(map(markdown, _titles(fields))), cells, [bool(column.style) for column in fields])
    titles = [_raw_cell(column.key) for column in fields]
    return render_delimited([titles, *([_raw_cell(row.get(column.key)) for column in fields] for row in rows)], form)


def _markdown_cell(value: Any, style: str) -> str:
    return markdown(_cell(value, style)) if isinstance(value, str) else _cell(value, style).replace("|", r"\|")


def _raw_cell(value: Any) -> str:
    """A value of CSV and TSV: numbers in full, nothing for an undefined one."""
    value = plain(value)
    if value is None:
        return ""
    if isinstance(value, str):
        return spreadsheet_text(printable(value)) if console.current().csv_safe else printable(value)
    return str(value).lower() if isinstance(value, bool) else printable(str(value))
