"""Tables that list image files: the rows of a CSV file, or of the metadata of a folder, as samples."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo_cli import specs
from zoo_cli.data.class_labels import KEYS, change_note, choose_column, collect_names, column_hint, tidy_name
from zoo_cli.data.image_root import ImageRoot
from zoo_cli.data.samples import Data, Sample, resolve_path, sample_path
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.text_escapes import quote

PATHS = ("path", "file_name")
"""The columns that name image files where the user names none."""

BINARY = {"", "0", "1", "0.0", "1.0", "true", "false"}
"""Cells of a one-hot column, in small letters."""
_IMAGE_FILE = re.compile(r"\.(jpe?g|png|webp|bmp|gif|tiff?|ppm|pgm|avif)\s*$", re.IGNORECASE)


@dataclass(frozen=True)
class ImageTable:
    """A table as text. `spec`: as the user named it; `file`: where it is. `path`: the column of the image files.

    `rows()` yields the place of a row, e.g. "t.csv, line 2", and its cells by column; an empty cell is unknown.
    """

    spec: str
    file: Path
    columns: tuple[str, ...]
    rows: Callable[[], Iterator[tuple[str, dict[str, str]]]]
    path: str = "path"


def open_table_root(
    provider: str, spec_path: str, file: Path, workspace: Path, named: str | None, follow_links: bool
) -> ImageRoot:
    """The folder to which the paths of a table are relative: the one that `?root=` names, else that of the table."""
    folder = resolve_path(named, workspace) if named is not None else file.parent
    if not folder.is_dir():
        raise UsageError(
            f"no folder {quote(str(folder))}, the root of {provider}:{spec_path}", "it is relative to the workspace"
        )
    return ImageRoot(folder, named is not None, follow_links, provider)


def choose_path(chosen: str | None, columns: Sequence[str], spec: str, file: Path, first: Mapping[str, str]) -> str:
    """The column of the image files: the one that `?path=` names, else `path` or `file_name`.

    `first`: the first row, from which the hint guesses. Raises UsageError with the nearest name if the chosen one is
    missing, ContractError if there is none, or several.
    """
    if chosen is not None:
        if chosen not in columns:
            raise specs.nearest(f"column of {spec}", chosen, columns)
        return chosen
    fitting = [name for name in columns if name in PATHS]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        guesses = [name for name, cell in first.items() if name and _IMAGE_FILE.search(cell)]
        hint = f"name its column: {spec}?path={guesses[0]}" if guesses else "write path,label,id,group"
        if len(guesses) > 1:
            hint = f"choose one of {', '.join(map(quote, guesses))}: {spec}?path={guesses[0]}"
        if spec.startswith("jsonl:"):
            raise ContractError(f"no key {' or '.join(PATHS)} in {file}", hint)
        raise ContractError(f"the first line is not a header with one path column ({file})", hint)
    if len(set(fitting)) == 1:
        raise ContractError(f"the first line is not a header with one path column ({file})", "rename or drop one")
    raise ContractError(
        f"{file} has the columns {' and '.join(map(quote, fitting))}: which one names the images?",
        f"choose one: {spec}?path={fitting[0]}",
    )


def read_image_table(table: ImageTable, images: ImageRoot, workspace: Path, label: str | None) -> Data:
    """The images that a table lists, in its order. Without an id column, the id is the path relative to its root.

    `label`: the column that holds the labels, by default `label`. Raises ContractError for labels that break their
    rules; paths are checked while the samples are read.
    """
    column = choose_column(label, table.columns, table.spec)
    if column == table.path:
        raise UsageError(
            f"column {quote(column)} of {table.spec} names the images", "choose another one for the labels"
        )
    has_id = "id" in table.columns and "id" not in (column, table.path)
    cells = {row[column] if column else "" for _, row in table.rows()}
    labels = {tidy_name(cell) for cell in cells if cell.strip()}
    classes = collect_names(labels, str(table.file)) if labels else None
    numbers = {name: position for position, name in enumerate(classes or ())}

    def samples() -> Iterator[Sample]:
        for where, row in table.rows():
            path = images.resolve(row[table.path], where)
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
        others = [name for name in table.columns if name not in (*KEYS, table.path)]
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
