"""`parquet:GLOB`: files in the Hugging Face layout, read in the order of their sorted names.

Columns: `image`, a struct of `bytes` and `path` or plain binary; `label`, integers or names; `id`, `group`. The class
names come from the `huggingface` schema metadata (ClassLabel) or a `class_names` JSON key; without either, integers are
their own names, and names are sorted. The default id is "<file stem>/<row>".
"""

import glob
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zoo_cli.data.samples import Data, Sample, number_classes, quote, resolve_beside, resolve_path, sample_path
from zoo_cli.errors import ContractError, UsageError

BATCH = 64  # rows in memory at a time: an image may take megabytes
_BROKEN = (pa.ArrowException, OSError, UnicodeDecodeError)


@dataclass(frozen=True)
class _Columns:
    """The columns of the files by role, and what their metadata tells of the classes."""

    image: str
    label: str | None
    id: bool
    group: bool
    class_names: tuple[str, ...] | None
    unknown: int | None  # the value for "no label": -1 for a ClassLabel, as Hugging Face writes it

    @property
    def names(self) -> list[str]:
        """The columns to read."""
        names = (self.image, self.label, "id" if self.id else None, "group" if self.group else None)
        return [name for name in names if name]


def read_parquet(rest: str, root: Path) -> Data:
    """The rows of all files that match a pattern (`**` crosses folders), relative to `root`.

    Raises UsageError if nothing matches; ContractError for a file that is not parquet or has no image column, files
    that disagree, and, while reading, damaged pages, empty ids and labels outside the class list.
    """
    files = _find_files(rest, root)
    columns = _common_columns(files)
    classes = columns.class_names
    text_labels = False
    if columns.label is not None:
        text_labels = _is_text(_open(files[0]).schema_arrow.field(columns.label).type)
        classes = classes or _collect_classes(files, columns.label, text_labels)
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
        for file, stem in zip(files, _unique_stems(files), strict=True):
            for row, cells in enumerate(_read_rows(file, columns.names)):
                where = f"{file}, row {row}"
                name = cells.get("id") if columns.id else f"{stem}/{row}"
                if name is None or name == "":
                    raise ContractError(f"an empty id ({where})", "give every row an id, or drop the column")
                path, image = _path_or_bytes(cells[columns.image], file, where)
                group = cells.get("group")
                yield Sample(
                    id=str(name),
                    path=sample_path(path, root) if path else None,
                    image=image,
                    label=label_of(cells[columns.label], where) if columns.label else None,
                    group=None if group is None else str(group),
                )

    return Data(classes, samples, own_ids=columns.id)


def _find_files(rest: str, root: Path) -> list[Path]:
    pattern = resolve_path(rest, root)
    if pattern.is_file():
        return [pattern]
    files = [Path(path) for path in sorted(glob.glob(str(pattern), recursive=True)) if os.path.isfile(path)]
    if not files:
        hint = (
            f"write parquet:{rest.rstrip('/')}/*.parquet"
            if pattern.is_dir()
            else "the pattern is relative to the workspace"
        )
        raise UsageError(f"no file matches parquet:{rest}", hint)
    return files


def _unique_stems(files: Sequence[Path]) -> list[str]:
    """The prefixes of default ids: file stems, or paths below the common folder if two files share a stem."""
    stems = [file.stem for file in files]
    if max(Counter(stems).values()) == 1:
        return stems
    common = os.path.commonpath([file.parent for file in files])
    return [file.relative_to(common).with_suffix("").as_posix() for file in files]


def _open(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file, page_checksum_verification=True)
    except _BROKEN as error:
        raise _damage_error(file, error) from None


def _damage_error(file: Path, error: BaseException) -> ContractError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return ContractError(f"{quote(str(file))} cannot be read as parquet: {reason}", "fetch or write the file again")


def _common_columns(files: Sequence[Path]) -> _Columns:
    """The columns of the files. Raises ContractError if they differ."""
    first = _read_columns(files[0])
    for file in files[1:]:
        other = _read_columns(file)
        if other != first:
            field = next(key for key, value in vars(first).items() if value != vars(other)[key])
            what = "class names" if field in ("class_names", "unknown") else f"{field} columns"
            raise ContractError(
                f"{files[0]} and {file} have different {what}", "give them as two data sets, in a list of specs"
            )
    return first


def _read_columns(file: Path) -> _Columns:
    schema = _open(file).schema_arrow
    features = _hugging_face_features(schema, file)
    image = _find_column(schema, features, "image", "Image")
    if image is None or not _is_image(schema.field(image).type):
        raise ContractError(
            f"no column image with encoded images in {file} (columns: {', '.join(map(quote, schema.names))})",
            "it must hold structs of bytes and path, or binary",
        )
    label = _find_column(schema, features, "label", "ClassLabel")
    class_names, unknown = None, None
    if label is not None:
        kind = schema.field(label).type
        if not (pa.types.is_integer(kind) or _is_text(kind)):
            raise ContractError(f"column {quote(label)} of {file} is {kind}", "labels must be integers or names")
        listed = features.get(label, {}).get("names") if isinstance(features.get(label), dict) else None
        if listed is not None:
            unknown = -1
            if isinstance(listed, dict):  # {"0": "cat", …}, as old data set cards write it
                listed = [listed.get(str(position)) for position in range(len(listed))]
        else:
            listed = _read_metadata(schema, b"class_names", file)
        class_names = _check_class_names(listed, file)
    return _Columns(image, label, "id" in schema.names, "group" in schema.names, class_names, unknown)


def _find_column(schema: pa.Schema, features: dict[str, Any], name: str, kind: str) -> str | None:
    """The column called `name`, else the only one that the Hugging Face metadata marks with this kind."""
    if name in schema.names:
        return name
    marked = [key for key, value in features.items() if isinstance(value, dict) and value.get("_type") == kind]
    return marked[0] if len(marked) == 1 and marked[0] in schema.names else None


def _hugging_face_features(schema: pa.Schema, file: Path) -> dict[str, Any]:
    values = _read_metadata(schema, b"huggingface", file)
    for key in ("info", "features"):
        values = values.get(key) if isinstance(values, dict) else None
    return values if isinstance(values, dict) else {}


def _read_metadata(schema: pa.Schema, key: bytes, file: Path) -> Any:
    text = (schema.metadata or {}).get(key)
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        raise ContractError(f"the schema metadata {key.decode()} of {file} is not valid JSON") from None


def _check_class_names(listed: Any, file: Path) -> tuple[str, ...] | None:
    if listed is None:
        return None
    if not isinstance(listed, list) or not listed or not all(isinstance(name, str) for name in listed):
        raise ContractError(f"the class names of {file} are not a list of strings")
    if len(set(listed)) < len(listed):
        repeated = next(name for name, count in Counter(listed).items() if count > 1)
        raise ContractError(f"class {quote(repeated)} is repeated in the class names of {file}")
    return tuple(listed)


def _collect_classes(files: Sequence[Path], label: str, text: bool) -> tuple[str, ...] | None:
    """The classes of files that do not list them, from a pass over the labels alone. None if all labels are null."""
    labels: set[Any] = set()
    for file in files:
        try:
            column = _open(file).read(columns=[label]).column(label)
            labels.update(pc.unique(column).to_pylist())
        except _BROKEN as error:
            raise _damage_error(file, error) from None
    labels.discard(None)
    if not labels:
        return None
    if text:
        return tuple(sorted(labels))
    if min(labels) < 0:
        raise ContractError(f"a negative label in {files[0]}", "number the classes from 0; null means unknown")
    return number_classes(max(labels), str(files[0]))


def _read_rows(file: Path, columns: list[str]) -> Iterator[dict[str, Any]]:
    source = _open(file)
    with source:
        batches = source.iter_batches(batch_size=BATCH, columns=columns, use_threads=False)
        while True:
            try:
                batch = next(batches, None)
                rows = [] if batch is None else batch.to_pylist()
            except _BROKEN as error:
                raise _damage_error(file, error) from None
            if batch is None:
                return
            yield from rows


def _path_or_bytes(cell: Any, file: Path, where: str) -> tuple[Path | None, bytes | None]:
    """The image file that a cell names, or its bytes. A cell with neither gives empty bytes, which do not decode."""
    if not isinstance(cell, dict):
        return None, cell or b""
    if cell.get("bytes") is None and cell.get("path"):
        return resolve_beside(cell["path"], file.parent, where), None
    return None, cell.get("bytes") or b""


def _is_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        fields = {kind.field(position).name: kind.field(position).type for position in range(kind.num_fields)}
        return "bytes" in fields and _is_binary(fields["bytes"])
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
