"""`parquet:GLOB?label=COLUMN`: files in the Hugging Face layout, read in the order of their sorted names.

Columns: `image`, a struct of `bytes` and `path` or plain binary; `label`, integers or names; `id`, `group`. In place of
`label`, the column that the user chooses, or the only one that the Hugging Face metadata marks as classes. The class
names come from the `huggingface` schema metadata (ClassLabel) or a `class_names` JSON key; without either, integers are
their own names, and names are sorted. The default id is "<file stem>/<row>".
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from zoo_cli.data.class_labels import tidy_classes
from zoo_cli.data.image_root import ImageRoot
from zoo_cli.data.parquet_columns import (
    BROKEN,
    ParquetColumns,
    collect_classes,
    common_columns,
    damage_error,
    describe_columns,
    file_schema,
    is_text,
    open_parquet,
)
from zoo_cli.data.samples import Data, Sample, match_data, resolve_path, sample_path, split_options
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.spec_paths import is_uri
from zoo_cli.store.arrow_images import is_arrow, iterate_batches
from zoo_cli.store.parquet_images import ImagePlace, block_rows
from zoo_cli.store.remote_files import File, RemoteFile, match_uris

BATCH = 64
"""Rows in memory at a time, fewer if images are large."""


def read_parquet(rest: str, root: Path, follow_links: bool = False) -> Data:
    """The rows of all files that match a pattern (`**` crosses folders), relative to `root`, or behind a URI.

    Raises UsageError if nothing matches or the chosen label column is missing; ContractError for a file that is not
    parquet or has no image column, files that disagree, and, while reading, damaged pages, empty ids and labels outside
    the class list.
    """
    pattern, options = split_options("parquet", rest, root)
    return read_files(_find_files(pattern, root), f"parquet:{pattern}", options.get("label"), root, follow_links)


def read_files(files: Sequence[File], spec: str, label: str | None, root: Path, follow_links: bool) -> Data:
    """The rows of parquet or arrow files, of which all have the same columns. `spec`: as the user named them."""
    columns = common_columns(files, label)
    classes = columns.class_names
    text_labels = False
    if columns.label is not None:
        text_labels = is_text(file_schema(files[0]).field(columns.label).type)
        classes = classes or collect_classes(files, columns.label, text_labels)
    numbers = {name: position for position, name in enumerate(classes or ())}

    def label_of(value: Any, where: str) -> int | None:
        if value is None or value == columns.unknown:
            return None
        position = numbers.get(value) if text_labels else value
        if position is None or not 0 <= position < len(classes or ()):
            raise ContractError(
                f"label {value!r} is outside the {len(classes or ())} classes of its file ({where})",
                "the schema metadata of the file lists the class names",
            )
        return int(position)

    def samples() -> Iterator[Sample]:
        for file, stem in zip(files, unique_stems(files), strict=True):
            for row, (row_group, position, cells) in enumerate(_read_rows(file, columns)):
                where = f"{file}, row {row}"
                name = cells.get("id") if columns.id else f"{stem}/{row}"
                if name is None or name == "":
                    raise ContractError(f"an empty id ({where})", "give every row an id, or drop the column")
                folder = None if isinstance(file, RemoteFile) else ImageRoot(file.parent, False, follow_links)
                path, image = _path_or_bytes(cells[columns.image], folder, where)
                group = cells.get("group")
                yield Sample(
                    id=str(name),
                    path=sample_path(path, root) if path else None,
                    image=image,
                    label=label_of(cells[columns.label], where) if columns.label else None,
                    group=None if group is None else str(group),
                    place=ImagePlace(_name_file(file, root), columns.image, row_group, position) if image else None,
                )

    def label_hint() -> str:
        if columns.label is not None:
            return f"column {columns.label} of {spec} is empty: fill it"
        return describe_columns(spec, files, columns.image)

    data = Data(classes, samples, own_ids=columns.id, label_hint=label_hint)
    return tidy_classes(data, sort=text_labels and columns.class_names is None)


def _find_files(rest: str, root: Path) -> Sequence[File]:
    if is_uri(rest):
        remote = match_uris(rest)
        if not remote:
            raise UsageError(f"no file matches parquet:{rest}", "write SCHEME://PLACE/FOLDER/*.parquet")
        return remote
    pattern = resolve_path(rest, root)
    files = match_data(pattern, root)
    if not files:
        hint = (
            f"write parquet:{rest.rstrip('/')}/*.parquet"
            if pattern.is_dir()
            else "the pattern is relative to the workspace"
        )
        raise UsageError(f"no file matches parquet:{rest}", hint)
    return files


def _name_file(file: File, root: Path) -> str:
    """A file as the place of its images holds it."""
    return str(file) if isinstance(file, RemoteFile) else sample_path(file, root)


def unique_stems(files: Sequence[File]) -> list[str]:
    """The prefixes of default ids: file stems, or paths below the common folder if two files share a stem."""
    paths = [file.path if isinstance(file, RemoteFile) else file for file in files]
    stems = [path.stem for path in paths]
    if max(Counter(stems).values()) == 1:
        return stems
    common = os.path.commonpath([path.parent for path in paths])
    return [path.relative_to(common).with_suffix("").as_posix() for path in paths]


def _read_rows(file: File, columns: ParquetColumns) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """The cells of every row by column, with its row group and its row in that group."""
    if isinstance(file, Path) and is_arrow(file):
        yield from _read_arrow_rows(file, columns)
        return
    with open_parquet(file) as source:
        for group in range(source.num_row_groups):
            batches = source.iter_batches(
                batch_size=block_rows(source, group, columns.image, BATCH),
                row_groups=[group],
                columns=columns.names,
                use_threads=False,
            )
            row = 0
            while True:
                try:
                    batch = next(batches, None)
                    cells = [] if batch is None else batch.to_pylist()
                except BROKEN as error:
                    raise damage_error(file, error) from None
                if batch is None:
                    break
                for position, each in enumerate(cells, row):
                    yield group, position, each
                row += len(cells)


def _read_arrow_rows(file: Path, columns: ParquetColumns) -> Iterator[tuple[int, int, dict[str, Any]]]:
    try:
        for number, batch in enumerate(iterate_batches(file)):
            chosen = batch.select(columns.names)
            for start in range(0, len(chosen), BATCH):
                for position, cells in enumerate(chosen.slice(start, BATCH).to_pylist(), start):
                    yield number, position, cells
    except BROKEN as error:
        raise damage_error(file, error) from None


def _path_or_bytes(cell: Any, folder: ImageRoot | None, where: str) -> tuple[Path | None, bytes | None]:
    """The image file that a cell names, or its bytes. A cell with neither gives empty bytes, which do not decode."""
    if not isinstance(cell, dict):
        return None, cell or b""
    if cell.get("bytes") is None and cell.get("path"):
        if folder is None:
            raise ContractError(f"an image outside of its remote file ({where})", "write its bytes into the column")
        return folder.resolve(cell["path"], where), None
    return None, cell.get("bytes") or b""
