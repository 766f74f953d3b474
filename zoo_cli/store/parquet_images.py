"""Encoded images inside parquet files, read one at a time in bounded memory whatever the sizes of the row groups.

Only a page is read whole, and takes its size twice; a page is what its writer wrote at once.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from zoo_cli.errors import ContractError
from zoo_cli.store.arrow_images import ArrowImages, is_arrow
from zoo_cli.store.remote_files import File, RemoteFile, read_error, resolve_file
from zoo_cli.store.tar_images import is_tar, read_member
from zoo_cli.store.text_column import decode_few, to_numbers

BLOCK_BYTES = 8_000_000
"""About how much of a row group is decoded at a time."""
CACHE_BYTES = 64_000_000
"""How much of what was decoded is kept."""
MOST_CURSORS = 2
_BUFFER = 1 << 20
_BROKEN = (pa.ArrowException, OSError, UnicodeDecodeError)
_AGAIN = "put it back, or zoo split --overwrite reads it again"


@dataclass(frozen=True, slots=True)
class ImagePlace:
    """Where an image without a file of its own is: a parquet file, its column, a row group, and a row of that group.

    In an arrow file, a record batch is the row group. In a tar file, the column is the ending of the image, the row
    group its size in bytes, and the row its first byte.
    `file`: a posix path, relative to the workspace if it lies inside, else absolute; or a URI.
    """

    file: str
    column: str
    row_group: int
    row: int


class ImagePlaces(Mapping[int, ImagePlace]):
    """The places of images by row, as the columns of a manifest name them: file, column, row group, row of the group.

    Raises ContractError for half a place.
    """

    def __init__(self, columns: Sequence[pa.ChunkedArray]):
        present = np.array([to_numbers(column.is_valid()) for column in columns])
        self._present = np.asarray(present.all(axis=0))
        half = np.flatnonzero(present.any(axis=0) & ~self._present)
        if len(half):
            row = int(half[0])
            raise ContractError(f"the manifest names half of the place of an image (row {row})", "make it again")
        self._names = [decode_few(column)[0] for column in columns[:2]]
        self._numbers = [to_numbers(column) for column in columns[2:]]

    def __getitem__(self, row: int) -> ImagePlace:
        if row not in self:
            raise KeyError(row)
        file, column = (names[row] for names in self._names)
        return ImagePlace(file, column, *(int(numbers[row]) for numbers in self._numbers))

    def __contains__(self, row: object) -> bool:
        return isinstance(row, (int, np.integer)) and 0 <= int(row) < len(self._present) and bool(self._present[row])

    def __iter__(self) -> Iterator[int]:
        return iter(np.flatnonzero(self._present).tolist())

    def __len__(self) -> int:
        return int(self._present.sum())


def open_stream(file: File) -> pq.ParquetFile:
    """A parquet file that is read page by page, checksums verified: a row group may not fit in memory."""
    source = file.open() if isinstance(file, RemoteFile) else file
    return pq.ParquetFile(source, page_checksum_verification=True, buffer_size=_BUFFER, pre_buffer=False)


def block_rows(file: pq.ParquetFile, row_group: int, column: str, most: int) -> int:
    """How many rows of a row group to decode at a time, by the mean size of a cell; at most `most`."""
    group = file.metadata.row_group(row_group)
    chunks = [group.column(number) for number in range(group.num_columns)]
    size = sum(chunk.total_uncompressed_size for chunk in chunks if f"{chunk.path_in_schema}.".startswith(f"{column}."))
    return max(1, min(most, BLOCK_BYTES * int(group.num_rows) // max(int(size), 1)))


class ParquetImages:
    """The images of parquet files by their place. Rows that are asked for in order are decoded once.

    Safe to use from several threads.
    """

    def __init__(self, root: Path):
        self.root = root
        self._blocks: OrderedDict[tuple[ImagePlace, int], list[bytes | None]] = OrderedDict()
        self._kept_bytes = 0
        self._cursors: OrderedDict[ImagePlace, _Cursor] = OrderedDict()
        self._block_rows: dict[ImagePlace, int] = {}
        self._arrow: dict[str, ArrowImages | None] = {}  # None for any other file
        self._tar: set[str] = set()
        self._lock = Lock()

    def read(self, place: ImagePlace) -> bytes:
        """The encoded image at a place. Raises ContractError if the file is gone, damaged, or lacks the row."""
        path = resolve_file(self.root, place.file)
        with self._lock:
            try:
                cell = self._find_cell(path, place)
            except FileNotFoundError:
                raise ContractError(f"{path} is gone since zoo split", _AGAIN) from None
            except (IndexError, KeyError, StopIteration):
                raise _changed_error(path) from None
            except _BROKEN as error:
                if (failure := read_error(path, error)) is not None:
                    raise failure from None
                line = str(error).splitlines()[0] if str(error) else "unreadable"
                kind = "parquet" if self._arrow.get(place.file) is None else "arrow"
                raise ContractError(f"{path} is not an intact {kind} file: {line}", _AGAIN) from None
        if cell is None:
            raise _changed_error(path)
        return cell

    def _find_cell(self, path: File, place: ImagePlace) -> bytes | None:
        if min(place.row_group, place.row) < 0:
            raise IndexError(place)
        if place.file not in self._arrow:
            if is_tar(path):
                self._tar.add(place.file)
            self._arrow[place.file] = ArrowImages(path) if isinstance(path, Path) and is_arrow(path) else None
        if (arrow := self._arrow[place.file]) is not None:
            return arrow.read(place.column, place.row_group, place.row)
        if isinstance(path, Path) and place.file in self._tar:
            return read_member(path, place.row, place.row_group)
        group = ImagePlace(place.file, place.column, place.row_group, 0)
        if group not in self._block_rows:
            self._cursors[group] = _Cursor(path, group)
            self._block_rows[group] = self._cursors[group].rows
        number, offset = divmod(place.row, self._block_rows[group])
        if (group, number) not in self._blocks:
            self._decode(path, group, number)
        self._blocks.move_to_end((group, number))
        return self._blocks[group, number][offset]

    def _decode(self, path: File, group: ImagePlace, number: int) -> None:
        """Decode blocks of a row group up to this one, on from where the last pass over the group stands."""
        cursor = self._cursors.pop(group, None)
        if cursor is None or number < cursor.number:
            cursor = _Cursor(path, group)
        self._cursors[group] = cursor
        while len(self._cursors) > MOST_CURSORS:
            self._cursors.popitem(last=False)
        while cursor.number <= number:
            self._keep((group, cursor.number), cursor.advance())

    def _keep(self, key: tuple[ImagePlace, int], block: list[bytes | None]) -> None:
        self._kept_bytes += _total_bytes(block) - _total_bytes(self._blocks.pop(key, []))
        self._blocks[key] = block
        while self._kept_bytes > CACHE_BYTES and len(self._blocks) > 1:
            self._kept_bytes -= _total_bytes(self._blocks.popitem(last=False)[1])


class _Cursor:
    """One pass over the images of a row group, `rows` of them at a time; `number`: the next block."""

    def __init__(self, path: File, group: ImagePlace):
        file = open_stream(path)
        if group.row_group >= file.num_row_groups or group.column not in file.schema_arrow.names:
            raise KeyError(group.column)
        self._left = file.metadata.row_group(group.row_group).num_rows
        self.rows = block_rows(file, group.row_group, group.column, self._left)
        self.number = 0
        self._column = group.column
        self._batches: Iterator[pa.RecordBatch] = file.iter_batches(
            batch_size=self.rows, row_groups=[group.row_group], columns=[group.column], use_threads=False
        )

    def advance(self) -> list[bytes | None]:
        """The encoded images of the next block. Raises StopIteration at the end of the group."""
        cells = next(self._batches).column(self._column)
        self.number += 1
        self._left -= len(cells)
        if self._left <= 0:
            self._batches = iter(())  # what it has read would stay in memory
        # As bytes, not as an array, whose buffers may be twice as large as what they hold.
        values: list[bytes | None] = (cells.field("bytes") if pa.types.is_struct(cells.type) else cells).to_pylist()
        return values


def _total_bytes(block: list[bytes | None]) -> int:
    return sum(len(image) for image in block if image is not None)


def _changed_error(path: File) -> ContractError:
    return ContractError(f"{path} has changed since zoo split", "zoo split --overwrite reads it again")
