"""Folders in the layout of Hugging Face's imagefolder: a `metadata.csv`, `.jsonl` or `.parquet` lists the images.

Its column `file_name` names each image relative to the folder; labels are in the column `label`, or in one that the
user chooses.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from zoo_cli.data.csv_table import open_csv
from zoo_cli.data.image_table import ImageTable
from zoo_cli.data.json_table import cell_text, read_json_lines
from zoo_cli.errors import ContractError, UsageError

FILES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
FILE_NAME = "file_name"


def find_metadata(folder: Path, spec: str) -> ImageTable | None:
    """The table of images in a folder; None without one, or if it has no column `file_name`.

    Raises UsageError if the folder has several, ContractError if it cannot be read.
    """
    files = [folder / name for name in FILES if (folder / name).is_file()]
    if len(files) > 1:
        raise UsageError(f"{spec} has {' and '.join(file.name for file in files)}", "keep one of them")
    if not files:
        return None
    (file,) = files
    if file.suffix == ".csv":
        with file.open(encoding="utf-8-sig", errors="replace") as lines:
            header = re.split(r"[,;\t|]", lines.readline())
        return open_csv(file, spec, FILE_NAME) if FILE_NAME in [name.strip(' "\r\n') for name in header] else None
    columns = _read_columns(file)
    if FILE_NAME not in columns:
        return None
    names = tuple("path" if name == FILE_NAME else f"other {name}" if name == "path" else name for name in columns)

    def rows() -> Iterator[tuple[str, dict[str, str]]]:
        for number, row in enumerate(_read_rows(file), 1):
            where = f"{file}, row {number}"
            yield where, {name: cell_text(row.get(key)) for name, key in zip(names, columns, strict=True)}

    return ImageTable(spec, file, names, rows)


def _read_columns(file: Path) -> list[str]:
    if file.suffix == ".parquet":
        return [str(name) for name in _open_parquet(file).schema_arrow.names]
    return list(dict.fromkeys(name for row in _read_rows(file) for name in row))


def _read_rows(file: Path) -> Iterable[Mapping[str, Any]]:
    if file.suffix == ".parquet":
        with _open_parquet(file) as stream:
            for batch in stream.iter_batches():
                yield from batch.to_pylist()
        return
    for _, row in read_json_lines(file):
        yield row


def _open_parquet(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise ContractError(f"{file} cannot be read as parquet: {error}", "fetch or write the file again") from None
