"""Arrays as list columns of a table and back, and the Arrow schema of an artifact."""

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.parquet import FileMetaData

from zoo_cli.errors import ContractError
from zoo_cli.store.schemas import Schema

ARROW_TYPES = {
    "string": pa.string(),
    "binary": pa.binary(),
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "double": pa.float64(),
    "list<double>": pa.list_(pa.float64()),
    "list<string>": pa.list_(pa.string()),
}
"""The column types of `schemas`, but for the lists whose width differs from file to file."""


def arrow_schema(schema: Schema, without: Sequence[str] = ()) -> pa.Schema:
    """The Arrow schema of an artifact, without some of its columns."""
    return pa.schema(
        [(column.name, ARROW_TYPES[column.type]) for column in schema.columns if column.name not in without]
    )


def to_matrix(column: pa.ChunkedArray, what: str) -> np.ndarray:
    """A list column of equal widths as one (N, W) array in its own precision; at most one copy.

    Accepts list, large_list and fixed-size list of float16, float32 and float64. Raises ContractError for nulls,
    ragged rows and other types.
    """
    kind = column.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not is_list or not pa.types.is_floating(kind.value_type):
        raise ContractError(f"{what} is {kind}", "expected a list of float16, float32 or float64")
    if column.null_count:
        raise ContractError(f"{what} has {column.null_count} nulls")
    pieces = []
    for chunk in column.chunks:
        if not len(chunk):
            continue
        values = chunk.flatten()
        if values.null_count or len(values) % len(chunk):
            raise ContractError(f"{what} is ragged", "every row needs the same number of values")
        if not pa.types.is_fixed_size_list(kind) and len(pc.unique(pc.list_value_length(chunk))) != 1:
            raise ContractError(f"{what} is ragged", "every row needs the same number of values")
        pieces.append(np.from_dlpack(values).reshape(len(chunk), -1))  # `to_numpy` would import pandas
    if not pieces:
        return np.zeros((0, getattr(kind, "list_size", 0)), pa.array([], kind.value_type).to_numpy(False).dtype)
    if len({piece.shape[1] for piece in pieces}) > 1:
        raise ContractError(f"{what} is ragged", "every row needs the same number of values")
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def to_list_column(array: np.ndarray) -> pa.FixedSizeListArray:
    """An (N, W) array as a fixed-size list column; no copy if it is contiguous."""
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(array).reshape(-1)), array.shape[1])


def check_list_lengths(metadata: FileMetaData, groups: Iterable[int], table: pa.Table) -> None:
    """Raise ArrowInvalid if a column of lists has other lengths than the footer counts in these row groups.

    A page without its last values is not noticed otherwise: its number of values is outside its checksum.
    """
    expected: dict[str, int] = {}
    for group in groups:
        for index in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(index)
            name = chunk.path_in_schema.partition(".")[0]
            expected[name] = expected.get(name, 0) + chunk.num_values
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            # A null and an empty list take a place, too.
            places = pc.sum(pc.max_element_wise(pc.list_value_length(column), 1)).as_py() or 0
            if not pa.types.is_nested(column.type.value_type) and places != expected.get(name, places):
                raise pa.ArrowInvalid(f"{places} values of {name} instead of {expected[name]}")
