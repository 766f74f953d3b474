"""Tables that list image files: the rows of a CSV file, or of the metadata of a folder, as samples."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from zoo_cli.data.class_labels import KEYS, change_note, choose_column, collect_names, column_hint, tidy_name
from zoo_cli.data.image_root import ImageRoot
from zoo_cli.data.samples import Data, Sample, sample_path
from zoo_cli.errors import ContractError

BINARY = {"", "0", "1", "0.0", "1.0", "true", "false"}
"""Cells of a one-hot column, in small letters."""


@dataclass(frozen=True)
class ImageTable:
    """A table as text. `spec`: as the user named it; `file`: where it is. One of the columns is `path`.

    `rows()` yields the place of a row, e.g. "t.csv, line 2", and its cells by column; an empty cell is unknown.
    """

    spec: str
    file: Path
    columns: tuple[str, ...]
    rows: Callable[[], Iterator[tuple[str, dict[str, str]]]]


def read_image_table(table: ImageTable, images: ImageRoot, workspace: Path, label: str | None) -> Data:
    """The images that a table lists, in its order. Without an id column, the id is the path relative to its root.

    `label`: the column that holds the labels, by default `label`. Raises ContractError for labels that break their
    rules; paths are checked while the samples are read.
    """
    column = choose_column(label, table.columns, table.spec)
    has_id = "id" in table.columns and column != "id"
    cells = {row[column] if column else "" for _, row in table.rows()}
    labels = {tidy_name(cell) for cell in cells if cell.strip()}
    classes = collect_names(labels, str(table.file)) if labels else None
    numbers = {name: position for position, name in enumerate(classes or ())}

    def samples() -> Iterator[Sample]:
        for where, row in table.rows():
            path = images.resolve(row["path"], where)
            name = row["id"] if has_id else path.relative_to(images.folder).as_posix()
            if not name:
                raise ContractError(f"an empty id ({where})", "give every row an id, or leave the column out")
            cell = row[column] if column else ""
            yield Sample(
                id=name,
                path=sample_path(path, workspace),
                image=None,
                label=numbers[tidy_name(cell)] if cell.strip() else None,
                group=row.get("group") or None,
            )

    def label_hint() -> str:
        if column is not None:
            return f"column {column} of {table.spec} is empty: fill it"
        others = [name for name in table.columns if name not in KEYS]
        return column_hint(table.spec, others, _binary_columns(table, others))

    note = change_note(sorted(cell for cell in cells if cell.strip()))
    return Data(classes, samples, own_ids=has_id, notes=(note,) if note else (), label_hint=label_hint)


def _binary_columns(table: ImageTable, columns: list[str]) -> list[str]:
    """The columns that hold only 0 and 1, or true and false."""
    binary = dict.fromkeys(columns)
    for _, row in table.rows():
        for name in [name for name in binary if row[name].strip().lower() not in BINARY]:
            del binary[name]
    return list(binary)
