"""Arrow files, in the stream format that Hugging Face `datasets` writes or the file format, and the images in them.

They are mapped into memory: a batch costs nothing until its images are read. Only compressed batches are decoded, one
at a time.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from zoo_cli.store.remote_files import File

STREAM, FILE = b"\xff\xff\xff\xff", b"ARROW1"
_END = b"\xff\xff\xff\xff\0\0\0\0"


def is_arrow(file: File) -> bool:
    """Whether a file begins as arrow data; not if it is gone, or behind a URI."""
    try:
        if not isinstance(file, Path) or not file.is_file():
            return False
        with file.open("rb") as stream:
            return stream.read(len(FILE)).startswith((STREAM, FILE))
    except OSError:
        return False


def read_schema(file: Path) -> pa.Schema:
    """The columns of an arrow file. Raises OSError or ArrowException if it is damaged."""
    return _open(_map_file(file)).schema


def iterate_batches(file: Path) -> Iterator[pa.RecordBatch]:
    """The record batches of an arrow file, each one checked.

    Raises OSError or ArrowException for a damaged file, and after the last batch for one that was cut off.
    """
    return _iterate(_map_file(file))


def _iterate(content: pa.Buffer) -> Iterator[pa.RecordBatch]:
    reader = _open(content)
    is_file = isinstance(reader, pa.RecordBatchFileReader)
    for batch in map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader:
        batch.validate(full=True)  # its offsets would be followed to anywhere
        yield batch
    if not is_file and content[-len(_END) :].to_pybytes() != _END:
        raise pa.ArrowInvalid("the end is missing: it was cut off, or its writer was not closed")


class ArrowImages:
    """The images of one arrow file, by batch and row. Batches that are mapped are kept, of others the last one."""

    def __init__(self, file: Path):
        self._file = file
        self._restart()

    def read(self, column: str, number: int, row: int) -> bytes | None:
        """The image in a row of a batch.

        Raises KeyError, IndexError or StopIteration where there is none; OSError or ArrowException for a damaged file.
        """
        if number < self._next and number not in self._batches:
            self._restart()
        while self._next <= number:
            batch = next(self._rest)
            if not self._mapped(batch):
                self._batches.clear()
            self._batches[self._next] = batch
            self._next += 1
        cells = self._batches[number].column(column)
        image: bytes | None = (cells.field("bytes") if pa.types.is_struct(cells.type) else cells)[row].as_py()
        return image

    def _restart(self) -> None:
        content = _map_file(self._file)
        self._range = range(content.address, content.address + content.size)
        self._rest = _iterate(content)
        self._batches: dict[int, pa.RecordBatch] = {}
        self._next = 0

    def _mapped(self, batch: pa.RecordBatch) -> bool:
        """Whether a batch takes no memory of its own."""
        buffers = [buffer for column in batch.columns for buffer in column.buffers() if buffer is not None]
        return all(buffer.address in self._range or not buffer.size for buffer in buffers)


def _map_file(file: Path) -> pa.Buffer:
    return pa.memory_map(str(file)).read_buffer()


def _open(content: pa.Buffer) -> pa.RecordBatchFileReader | pa.RecordBatchStreamReader:
    if content[: len(FILE)].to_pybytes() == FILE:
        return pa.ipc.open_file(content)
    return pa.ipc.open_stream(content)
