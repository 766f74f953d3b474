"""A column of strings as Arrow keeps it: a million rows are one buffer, not a million Python objects."""

from collections.abc import Iterable, Iterator, Sequence
from operator import index
from typing import Any, Self, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Array = np.ndarray
BLOCK = 8192
"""How many rows are Python objects at a time while a column is iterated over."""
LONG = 1 << 30
"""Bytes of text from which on a column has offsets of 64 bits: those of 32 end at 2 GB."""


class TextColumn:
    """Strings (N,), None where one is missing.

    A position gives a string; positions (M,), a mask (N,) or a slice give an array of Python strings, `take` a column.
    """

    def __init__(self, values: pa.Array):
        self.values = values

    @classmethod
    def of(cls, values: pa.ChunkedArray | pa.Array | Array | Iterable[str | None] | Self) -> Self:
        """A column of strings in any form."""
        if isinstance(values, TextColumn):
            return cls(values.values)
        if isinstance(values, pa.ChunkedArray):
            return cls((values.cast(pa.large_string()) if values.nbytes > LONG else values).combine_chunks())
        return cls(values if isinstance(values, pa.Array) else pa.array(list(values), pa.large_string()))

    @classmethod
    def join(cls, columns: Sequence[Self]) -> Self:
        """Columns one after another."""
        kind = pa.large_string() if sum(column.values.nbytes for column in columns) > LONG else pa.string()
        return cls.of(pa.chunked_array([column.values.cast(kind) for column in columns], kind))

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Any]:
        for block in self.blocks():
            yield from block

    @overload
    def __getitem__(self, rows: int | np.integer[Any]) -> Any: ...
    @overload
    def __getitem__(self, rows: Array | slice | list[int]) -> Array: ...
    def __getitem__(self, rows: int | np.integer[Any] | Array | slice | list[int]) -> Any:
        if isinstance(rows, (int, np.integer)):
            return self.values[index(rows)].as_py()
        return np.asarray(self.take(rows))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        array = np.empty(len(self), dtype=object)
        array[:] = self.tolist()
        return array if dtype is None else array.astype(dtype)

    def take(self, rows: Array | slice | list[int]) -> Self:
        """The column of some rows."""
        if isinstance(rows, slice):
            return type(self)(self.values[rows])
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        return type(self)(self.values.take(to_arrow(rows.astype(np.int64, copy=False))))

    def tolist(self) -> list[Any]:
        """All strings, as Python objects."""
        strings: list[Any] = self.values.to_pylist()
        return strings

    def blocks(self) -> Iterator[list[Any]]:
        """The strings in lists of at most BLOCK."""
        for start in range(0, len(self), BLOCK):
            yield self.values[start : start + BLOCK].to_pylist()

    def isin(self, names: Iterable[str] | Self) -> Array:
        """Which rows (N,) hold one of these strings."""
        among = self.of(names).values.cast(self.values.type)
        return to_numbers(pc.is_in(self.values, value_set=among))

    def positions(self, names: Self) -> Array:
        """Where each of `names` (M,) is in this column, int64, -1 where it is not; of equal ones the first."""
        places = pc.index_in(names.values.cast(self.values.type), value_set=self.values)
        return to_numbers(places, -1).astype(np.int64)

    def repeats(self) -> bool:
        """Whether a string occurs more than once."""
        return len(pc.unique(self.values)) < len(self)


def to_numbers(column: pa.ChunkedArray | pa.Array, null: int = 0) -> Array:
    """A column of numbers or truth values (N,), a null as `null`.

    Arrow's own `to_numpy` and `fill_null` import pandas where it is installed, which takes longer than a manifest.
    """
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    kind = values.type
    values = values.cast(pa.uint8()) if pa.types.is_boolean(kind) else values
    if not len(values):
        return np.zeros(0, str(kind))
    plain = pa.Array.from_buffers(values.type, len(values), [None, values.buffers()[1]], offset=values.offset)
    array: Array = np.array(np.from_dlpack(plain))
    if values.null_count:
        array[~to_numbers(values.is_valid())] = null
    return array.astype(bool) if pa.types.is_boolean(kind) else array


def to_arrow(numbers: Array) -> pa.Array:
    """Numbers (N,) as an Arrow array without a copy; `pa.array` would import pandas."""
    numbers = np.ascontiguousarray(numbers)
    kind = pa.from_numpy_dtype(numbers.dtype)
    return pa.Array.from_buffers(kind, len(numbers), [None, pa.py_buffer(numbers)])


def decode_few(column: pa.ChunkedArray) -> tuple[Array, list[Any]]:
    """A column in which few values repeat: its rows (N,) as shared Python objects, and the values that occur."""
    encoded = TextColumn.of(column).values.dictionary_encode()
    names = encoded.dictionary.to_pylist()
    return np.array([*names, None], dtype=object)[to_numbers(encoded.indices, len(names))], names
