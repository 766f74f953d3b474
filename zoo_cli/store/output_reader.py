"""Stored outputs of a source, read block by block: what is in memory does not grow with their number."""

from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from zoo_cli.errors import ContractError, ZooError
from zoo_cli.store import feature_files, output_columns, parquet_files, replacement, schemas
from zoo_cli.store.feature_files import StoredOutputs
from zoo_cli.store.manifest import check_unique
from zoo_cli.store.text_column import TextColumn

Array = np.ndarray
BLOCK = schemas.ROW_GROUP
"""Rows that are decoded at a time: a part of ours, or a piece of a larger row group."""
KEPT_BLOCKS = 2


@dataclass(frozen=True)
class _Block:
    """The `number`-th piece of BLOCK rows of a row group of a file; `is_whole`: the only one of its group.

    `stamp`: of the file, see `_stamp`.
    """

    part: Path
    stamp: tuple[int, int]
    group: int
    number: int
    rows: int
    is_whole: bool


class OutputReader:
    """The rows of `ids` in that order, or every row in the order stored; `read` gives a range of them.

    Fast where the order is about that in which they are stored, as that of a manifest is. `needed`: the columns that
    must exist. Raises ContractError for repeated or missing ids, and `read` for values that break the contract of their
    column, see `output_columns`.
    """

    def __init__(
        self,
        path: Path,
        columns: Sequence[str],
        *,
        ids: TextColumn | None = None,
        needed: Collection[str] = (),
        output: str = "softmax",
    ):
        self.path = path
        self.output = output
        pieces, self._blocks, stored_columns = replacement.read_whole(path, lambda: _read_index(path, columns))
        stored = TextColumn.join(pieces)
        check_unique(stored, str(path))
        self.ids = stored if ids is None else ids
        self._rows = np.arange(len(stored)) if ids is None else feature_files.find_rows(ids, stored, path)
        self._ends = np.cumsum([block.rows for block in self._blocks])
        self._kept: OrderedDict[int, dict[str, Array]] = OrderedDict()
        self._decoder: tuple[int, Iterator[pa.Table]] = -1, iter(())
        self.columns = stored_columns
        self._empty: dict[str, Array] = {column: np.zeros((0, 0), np.float32) for column in stored_columns}
        if len(stored):
            first = self._rows[0] if len(self) else 0
            block = self._load(int(np.searchsorted(self._ends, first, side="right")))
            self._empty = {column: np.zeros((0, values.shape[1]), values.dtype) for column, values in block.items()}
            self.columns = tuple(column for column in stored_columns if column in block)
        for column in needed:
            if column not in self.columns:
                raise feature_files.lacks_column(path, column)

    def __len__(self) -> int:
        return len(self._rows)

    def width(self, column: str) -> int:
        """The width of a column; 0 where nothing is stored."""
        return int(self._empty[column].shape[1])

    def read(self, rows: slice) -> StoredOutputs:
        """The outputs of a range of rows."""
        positions = self._rows[rows]
        ids = np.asarray(self.ids.take(rows))
        numbers = np.searchsorted(self._ends, positions, side="right")
        arrays = {
            column: np.empty((len(ids), self.width(column)), self._empty[column].dtype) for column in self.columns
        }
        for number in np.unique(numbers).tolist():
            own = numbers == number
            begin = self._ends[number] - self._blocks[number].rows
            block = self._load(number)
            for column, array in arrays.items():
                if column not in block:
                    raise feature_files.lacks_column(self.path, column)
                if block[column].shape[1] != array.shape[1]:
                    raise ContractError(f"{self.path}: the parts disagree on the width of {column}")
                array[own] = block[column][positions[own] - begin]
        for column, array in arrays.items():
            output_columns.check_values(array, column, ids, self.path, self.output)
        name = feature_files.display_name(self.path)
        return StoredOutputs(name, ids, *(arrays.get(column) for column in output_columns.COLUMNS))

    def _load(self, number: int) -> dict[str, Array]:
        """The columns of a block that are not null."""
        if number not in self._kept:
            while len(self._kept) >= KEPT_BLOCKS:
                self._kept.popitem(last=False)
            block = self._blocks[number]
            table = self._decode(number)
            values = {name: output_columns.read_matrix(table.column(name), name, block.part) for name in self.columns}
            self._kept[number] = {name: array for name, array in values.items() if array is not None}
        self._kept.move_to_end(number)
        return self._kept[number]

    def _decode(self, number: int) -> pa.Table:
        block = self._blocks[number]
        upcoming, tables = self._decoder
        if upcoming != number or block.number == 0:
            tables = _decode_group(block, self.columns)
            for _ in range(block.number):
                next(tables)
        self._decoder = number + 1, tables
        return next(tables)


def _read_index(path: Path, columns: Sequence[str]) -> tuple[list[TextColumn], list[_Block], tuple[str, ...]]:
    """The ids of every file at a path, its blocks, and those of the columns that every file has."""
    ids: list[TextColumn] = []
    blocks: list[_Block] = []
    stored: list[tuple[int, Collection[str]]] = []
    for part in feature_files.find_parts(path):
        names = feature_files.check_part(part)
        with parquet_files.open_parquet(part) as stream:
            stored.append((stream.metadata.num_rows, names))
            groups = range(stream.num_row_groups)
            ids.append(output_columns.read_ids(parquet_files.read_groups(stream, groups, ["id"]).column("id"), part))
            for group in groups:
                size = stream.metadata.row_group(group).num_rows
                starts = range(0, size, BLOCK)
                blocks += [
                    _Block(part, _stamp(part), group, number, min(BLOCK, size - start), len(starts) == 1)
                    for number, start in enumerate(starts)
                ]
    # A part without rows, whose images all failed, may lack columns.
    filled = [names for count, names in stored if count] or [names for _, names in stored[:1]]
    present = tuple(column for column in columns if all(column in names for names in filled))
    return ids, blocks, present


def _decode_group(block: _Block, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The blocks of a row group, one after another."""
    if _stamp(block.part) != block.stamp:
        raise ZooError(f"{block.part} was replaced while it was read", "run the same command again")
    with parquet_files.open_parquet(block.part, streaming=not block.is_whole) as stream:
        if block.is_whole:
            yield parquet_files.read_groups(stream, [block.group], columns)
            return
        batches = stream.iter_batches(BLOCK, row_groups=[block.group], columns=list(columns), use_threads=False)
        for batch in batches:
            yield pa.Table.from_batches([batch])


def _stamp(part: Path) -> tuple[int, int]:
    """What tells a file from one that came into its place."""
    status = part.stat()
    return status.st_ino, status.st_mtime_ns
