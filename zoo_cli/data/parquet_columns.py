"""The columns of parquet files by role: images, labels, ids; and the class names that the files list."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zoo_cli import specs
from zoo_cli.data.class_labels import KEYS, MULTI_LABEL, ONE_LABEL, column_hint, refuse_several
from zoo_cli.data.samples import number_classes
from zoo_cli.errors import ContractError, ZooError
from zoo_cli.store.arrow_images import is_arrow, iterate_batches, read_schema
from zoo_cli.store.json_text import parse_json
from zoo_cli.store.parquet_images import open_stream
from zoo_cli.store.remote_files import File, read_error
from zoo_cli.text_escapes import quote

BROKEN = (pa.ArrowException, OSError, UnicodeDecodeError)
"""What pyarrow raises for a damaged file."""


@dataclass(frozen=True)
class ParquetColumns:
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


def open_parquet(file: File) -> pq.ParquetFile:
    try:
        return open_stream(file)
    except BROKEN as error:
        raise damage_error(file, error) from None


def file_schema(file: File) -> pa.Schema:
    """The columns of a parquet or arrow file. Raises ContractError if it is damaged."""
    try:
        schema = read_schema(file) if isinstance(file, Path) and is_arrow(file) else open_parquet(file).schema_arrow
        for field in schema:  # pyarrow decodes a name when it is asked for it
            _ = [field.name, *(inner.name for inner in (field.type if pa.types.is_struct(field.type) else ()))]
        return schema
    except BROKEN as error:
        raise damage_error(file, error) from None


def _distinct_values(file: File, name: str) -> set[Any]:
    """The values that occur in a column of a parquet or arrow file."""
    try:
        if not (isinstance(file, Path) and is_arrow(file)):
            return set(pc.unique(open_parquet(file).read(columns=[name]).column(name)).to_pylist())
        return {value for batch in iterate_batches(file) for value in pc.unique(batch.column(name)).to_pylist()}
    except BROKEN as error:
        raise damage_error(file, error) from None


def damage_error(file: File, error: BaseException) -> ZooError:
    if (failure := read_error(file, error)) is not None:
        return failure
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    hint = f"write csv:{file.name}" if file.suffix == ".csv" else "fetch or write the file again"
    kind = "arrow" if is_arrow(file) or file.suffix == ".arrow" else "parquet"
    return ContractError(f"{quote(str(file))} cannot be read as {kind}: {reason}", hint)


def common_columns(files: Sequence[File], chosen: str | None) -> ParquetColumns:
    """The columns of the files. Raises ContractError if they differ."""
    first = _read_columns(files[0], chosen)
    for file in files[1:]:
        other = _read_columns(file, chosen)
        if other != first:
            field = next(key for key, value in vars(first).items() if value != vars(other)[key])
            what = "class names" if field in ("class_names", "unknown") else f"{field} columns"
            raise ContractError(
                f"{files[0]} and {file} have different {what}", "give them as two data sets, in a list of specs"
            )
    return first


def _read_columns(file: File, chosen: str | None) -> ParquetColumns:
    schema = file_schema(file)
    features = _hugging_face_features(schema, file)
    image = _find_column(schema, features, "image", "Image")
    if image is None or not _is_image(schema.field(image).type):
        raise ContractError(
            f"no column image with encoded images in {file} (columns: {', '.join(map(quote, schema.names))})",
            f"call one of {', '.join(map(quote, marked))} image"
            if len(marked := _marked_columns(schema, features, "Image")) > 1
            else "it must hold structs of bytes and path, or binary",
        )
    if chosen is not None and chosen not in schema.names:
        raise specs.nearest(f"column of {file}", chosen, [name for name in schema.names if name != image])
    label = chosen or _find_column(schema, features, "label", "ClassLabel")
    class_names, unknown = None, None
    if label is not None:
        kind = schema.field(label).type
        if not (pa.types.is_integer(kind) or is_text(kind)):
            several = pa.types.is_nested(kind)
            raise ContractError(
                f"column {quote(label)} of {file} is {kind}{f': {MULTI_LABEL}' if several else ''}",
                ONE_LABEL if several else "labels must be integers or names",
            )
        listed = features.get(label, {}).get("names")
        if listed is not None:
            unknown = -1
            if isinstance(listed, dict):  # {"0": "cat", …}, as old data set cards write it
                listed = [listed.get(str(position)) for position in range(len(listed))]
        else:
            listed = _read_metadata(schema, b"class_names", file)
        class_names = _check_class_names(listed, file)
    return ParquetColumns(image, label, "id" in schema.names, "group" in schema.names, class_names, unknown)


def _find_column(schema: pa.Schema, features: dict[str, Any], name: str, kind: str) -> str | None:
    """The column called `name`, else the only one that the Hugging Face metadata marks with this kind."""
    if name in schema.names:
        return name
    marked = _marked_columns(schema, features, kind)
    return marked[0] if len(marked) == 1 else None


def _marked_columns(schema: pa.Schema, features: dict[str, Any], kind: str) -> list[str]:
    return [key for key, value in features.items() if value.get("_type") == kind and key in schema.names]


def _hugging_face_features(schema: pa.Schema, file: File) -> dict[str, Any]:
    values = _read_metadata(schema, b"huggingface", file)
    for key in ("info", "features"):
        values = values.get(key) if isinstance(values, dict) else None
    if values is None and is_arrow(file) and isinstance(file, Path):
        values = _read_card(file.with_name("dataset_info.json"))
    values = values if isinstance(values, dict) else {}
    return {name: feature for name, feature in values.items() if isinstance(feature, dict)}


def _read_card(card: Path) -> Any:
    """The features that the card of a data set on disk lists; None without one."""
    try:
        content = parse_json(card.read_bytes()) if card.is_file() else None
    except (ValueError, OSError):
        raise ContractError(f"{card} is not valid JSON", "write the data set again") from None
    return content.get("features") if isinstance(content, dict) else None


def _read_metadata(schema: pa.Schema, key: bytes, file: File) -> Any:
    text = (schema.metadata or {}).get(key)
    try:
        return None if text is None else parse_json(text)
    except ValueError:
        raise ContractError(f"the schema metadata {key.decode()} of {file} is not valid JSON") from None


def _check_class_names(listed: Any, file: File) -> tuple[str, ...] | None:
    if listed is None:
        return None
    if not isinstance(listed, list) or not listed or not all(isinstance(name, str) for name in listed):
        raise ContractError(f"the class names of {file} are not a list of strings")
    if len(set(listed)) < len(listed):
        repeated = next(name for name, count in Counter(listed).items() if count > 1)
        raise ContractError(f"class {quote(repeated)} is repeated in the class names of {file}")
    return tuple(listed)


def collect_classes(files: Sequence[File], label: str, text: bool) -> tuple[str, ...] | None:
    """The classes of files that do not list them, from a pass over the labels alone. None if all labels are null."""
    labels: set[Any] = set()
    for file in files:
        labels |= _distinct_values(file, label)
    labels.discard(None)
    if not labels:
        return None
    if text:
        refuse_several(labels, str(files[0]))
        return tuple(sorted(labels))
    if min(labels) < 0:
        raise ContractError(f"a negative label in {files[0]}", "number the classes from 0; null means unknown")
    return number_classes(max(labels), str(files[0]))


def describe_columns(spec: str, files: Sequence[File], image: str) -> str:
    """Why the files have no label column, from their types and the values of the columns that may be one-hot."""
    schema = file_schema(files[0])
    others = [field for field in schema if field.name != image and field.name not in KEYS]
    lists = [field.name for field in others if pa.types.is_list(field.type) or pa.types.is_large_list(field.type)]
    if lists:
        return f"column {quote(lists[0])} of {spec} holds lists: {MULTI_LABEL}; {ONE_LABEL} in a column label"
    features = _hugging_face_features(schema, files[0])
    names = [field.name for field in others if pa.types.is_integer(field.type) or is_text(field.type)]
    marked = [name for name in names if features.get(name, {}).get("_type") == "ClassLabel"]
    numbers = [
        field.name for field in others if pa.types.is_primitive(field.type) and not pa.types.is_temporal(field.type)
    ]
    binary = [name for name in numbers if name not in marked and _is_binary_column(files, name)]
    return column_hint(spec, marked or names, binary)


def _is_binary_column(files: Sequence[File], name: str) -> bool:
    """Whether a column holds only 0 and 1, or true and false."""
    return {value for file in files for value in _distinct_values(file, name)} <= {0, 1, None}


def _is_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        fields = {kind.field(position).name: kind.field(position).type for position in range(kind.num_fields)}
        return "bytes" in fields and _is_binary(fields["bytes"])
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
