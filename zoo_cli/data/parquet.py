"""`parquet:GLOB`: files in the Hugging Face layout, read in the order of their sorted names.

Columns: `image`, a struct of `bytes` and `path` or plain binary; `label`, whole numbers or names; `id`, `group`. The
class names stand in the `huggingface` schema metadata (ClassLabel) or in a `class_names` JSON key; without either,
numbers are their own names and names are sorted. The default id is "<file stem>/<row>".
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

from zoo_cli.data.samples import Data, Sample, beside, located, numbered, resolve_path, shown
from zoo_cli.errors import ContractError, UsageError

BATCH = 64  # rows in memory at a time: images may be megabytes each
_BROKEN = (pa.ArrowException, OSError, UnicodeDecodeError)


@dataclass(frozen=True)
class _Columns:
    """What the files hold, by role."""

    image: str
    label: str | None
    id: bool
    group: bool
    names: tuple[str, ...] | None
    unknown: int | None  # the label that means "no label": -1 for a ClassLabel, as Hugging Face writes it


def read(rest: str, root: Path) -> Data:
    """The rows of all files that match a pattern (`**` crosses folders), relative to `root`.

    Raises UsageError where nothing matches; ContractError for a file that is no parquet or lacks an image column, files
    that disagree, and, while reading, damaged pages, empty ids and labels outside the class list.
    """
    files = _files(rest, root)
    columns = _agreed(files)
    classes, names = columns.names, _stems(files)
    text_labels = False
    if columns.label is not None:
        text_labels = _is_text(_open(files[0]).schema_arrow.field(columns.label).type)
        classes = classes or _classes(files, columns.label, text_labels)
    number = {name: position for position, name in enumerate(classes or ())}

    def label(value: Any, where: str) -> int | None:
        if value is None or value == columns.unknown:
            return None
        position = number.get(value) if text_labels else value
        if position is None or not 0 <= position < len(classes or ()):
            raise ContractError(
                f"label {value!r} is outside the {len(classes or ())} classes of its file ({where})",
                "the class names stand in the schema metadata of the file",
            )
        return int(position)

    def samples() -> Iterator[Sample]:
        wanted = [columns.image, columns.label, "id" if columns.id else None, "group" if columns.group else None]
        for file, stem in zip(files, names, strict=True):
            for row, cells in enumerate(_rows(file, [name for name in wanted if name])):
                where = f"{file}, row {row}"
                own = cells.get("id") if columns.id else f"{stem}/{row}"
                if own is None or own == "":
                    raise ContractError(f"an empty id ({where})", "give every row an id, or drop the column")
                path, image = _image(cells[columns.image], file, where)
                group = cells.get("group")
                yield Sample(
                    id=str(own),
                    path=located(path, root) if path else None,
                    image=image,
                    label=label(cells[columns.label], where) if columns.label else None,
                    group=None if group is None else str(group),
                )

    return Data(classes, samples, own_ids=columns.id)


def _files(rest: str, root: Path) -> list[Path]:
    pattern = resolve_path(rest, root)
    if pattern.is_file():
        return [pattern]
    files = [Path(path) for path in sorted(glob.glob(str(pattern), recursive=True)) if os.path.isfile(path)]
    if not files:
        hint = (
            f"write parquet:{rest.rstrip('/')}/*.parquet" if pattern.is_dir() else "the pattern is relative to zoo.toml"
        )
        raise UsageError(f"no file matches parquet:{rest}", hint)
    return files


def _stems(files: Sequence[Path]) -> list[str]:
    """What makes default ids unique: the stem, or the path below the common folder where two files share a stem."""
    stems = [file.stem for file in files]
    if max(Counter(stems).values()) == 1:
        return stems
    common = os.path.commonpath([file.parent for file in files])
    return [file.relative_to(common).with_suffix("").as_posix() for file in files]


def _open(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file, page_checksum_verification=True)
    except _BROKEN as error:
        raise _damaged(file, error) from None


def _damaged(file: Path, error: BaseException) -> ContractError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return ContractError(f"{shown(str(file))} cannot be read as parquet: {reason}", "fetch or write the file again")


def _agreed(files: Sequence[Path]) -> _Columns:
    """The columns of the first file, after a check that the others have the same."""
    first = _columns(files[0])
    for file in files[1:]:
        other = _columns(file)
        if other != first:
            ours, theirs = vars(first), vars(other)
            what = next(key for key in ours if ours[key] != theirs[key])
            what = {"names": "class names", "unknown": "class names"}.get(what, f"{what} columns")
            raise ContractError(
                f"{files[0]} and {file} have different {what}", "give them as two data sets, in a list of specs"
            )
    return first


def _columns(file: Path) -> _Columns:
    schema = _open(file).schema_arrow
    features = _features(schema, file)
    image = _role(schema, features, "image", "Image")
    if image is None or not _is_image(schema.field(image).type):
        raise ContractError(
            f"no column image with encoded images in {file} (columns: {', '.join(map(shown, schema.names))})",
            "it holds structs of bytes and path, or binary",
        )
    label = _role(schema, features, "label", "ClassLabel")
    names, unknown = None, None
    if label is not None:
        kind = schema.field(label).type
        if not (pa.types.is_integer(kind) or _is_text(kind)):
            raise ContractError(f"column {shown(label)} of {file} is {kind}", "labels are whole numbers or names")
        listed = features.get(label, {}).get("names") if isinstance(features.get(label), dict) else None
        if listed is not None:
            unknown = -1
            if isinstance(listed, dict):  # {"0": "cat", …}, as old data set cards write it
                listed = [listed.get(str(position)) for position in range(len(listed))]
        else:
            listed = _json(schema, b"class_names", file)
        names = _checked(listed, file)
    return _Columns(image, label, "id" in schema.names, "group" in schema.names, names, unknown)


def _role(schema: pa.Schema, features: dict[str, Any], name: str, kind: str) -> str | None:
    """The column called `name`, or else the only one that the Hugging Face metadata marks as of this kind."""
    if name in schema.names:
        return name
    marked = [key for key, value in features.items() if isinstance(value, dict) and value.get("_type") == kind]
    return marked[0] if len(marked) == 1 and marked[0] in schema.names else None


def _features(schema: pa.Schema, file: Path) -> dict[str, Any]:
    found = _json(schema, b"huggingface", file)
    for key in ("info", "features"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _json(schema: pa.Schema, key: bytes, file: Path) -> Any:
    text = (schema.metadata or {}).get(key)
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        raise ContractError(f"the schema metadata {key.decode()} of {file} is no JSON") from None


def _checked(listed: Any, file: Path) -> tuple[str, ...] | None:
    if listed is None:
        return None
    if not isinstance(listed, list) or not listed or not all(isinstance(name, str) for name in listed):
        raise ContractError(f"the class names of {file} are no list of texts")
    if len(set(listed)) < len(listed):
        twice = next(name for name, count in Counter(listed).items() if count > 1)
        raise ContractError(f"class {shown(twice)} stands twice in the class names of {file}")
    return tuple(listed)


def _classes(files: Sequence[Path], label: str, text: bool) -> tuple[str, ...] | None:
    """The classes of files that do not list them, from a pass over the labels alone. None where all are null."""
    found: set[Any] = set()
    for file in files:
        try:
            column = _open(file).read(columns=[label]).column(label)
            found.update(pc.unique(column).to_pylist())
        except _BROKEN as error:
            raise _damaged(file, error) from None
    found.discard(None)
    if not found:
        return None
    if text:
        return tuple(sorted(found))
    if min(found) < 0:
        raise ContractError(f"a negative label in {files[0]}", "number the classes from 0; null means unknown")
    return numbered(max(found), str(files[0]))


def _rows(file: Path, columns: list[str]) -> Iterator[dict[str, Any]]:
    source = _open(file)
    with source:
        batches = source.iter_batches(batch_size=BATCH, columns=columns, use_threads=False)
        while True:
            try:
                batch = next(batches, None)
                rows = [] if batch is None else batch.to_pylist()
            except _BROKEN as error:
                raise _damaged(file, error) from None
            if batch is None:
                return
            yield from rows


def _image(cell: Any, file: Path, where: str) -> tuple[Path | None, bytes | None]:
    """The file that a cell names, or its bytes. A cell without either is an empty image, which decoding refuses."""
    if not isinstance(cell, dict):
        return None, cell or b""
    if cell.get("bytes") is None and cell.get("path"):
        return beside(cell["path"], file.parent, where), None
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
