"""`csv:FILE?label=COLUMN&root=FOLDER`: a table with the header `path[,label][,id][,group]`, comma separated, UTF-8.

Paths are relative to the table, or to the root, and must stay inside that folder. An empty label means unknown. If all
labels are plain integers, they are class numbers (classes "0" to the largest); otherwise they are names ("007" is one),
and the classes are the sorted names. `file_name`, the Hugging Face column, is an alias of `path`. Where the header has
a space after its commas, so have the rows.

Python's csv module reads the table, not pyarrow.csv, which gives no line number for a row that parses, accepts an
unterminated quote, and has no limit on the length of a cell.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from zoo_cli.data.image_root import ImageRoot
from zoo_cli.data.image_table import ImageTable, read_image_table
from zoo_cli.data.samples import Data, quote, resolve_path, split_options
from zoo_cli.errors import ContractError, UsageError

COLUMNS = ("path", "label", "id", "group")


def read_csv(rest: str, root: Path, follow_links: bool = False) -> Data:
    """The images that a table lists, in its order. Without an id column, the id is the path as the table gives it.

    Raises UsageError for a missing file or column, ContractError for a table that breaks the rules above; paths are
    checked while the samples are read.
    """
    path, options = split_options("csv", rest, root)
    file = resolve_path(path, root)
    if not file.is_file():
        raise UsageError(f"no table {quote(str(file))}", "paths are relative to the workspace")
    folder = resolve_path(options["root"], root) if "root" in options else file.parent
    if not folder.is_dir():
        raise UsageError(f"no folder {quote(str(folder))}, the root of csv:{path}", "it is relative to the workspace")
    table = open_csv(file, f"csv:{path}")
    return read_image_table(table, ImageRoot(folder, "root" in options, follow_links), root, options.get("label"))


def open_csv(file: Path, spec: str) -> ImageTable:
    """A CSV file as a table of images. Raises ContractError if its first line is not a header with a path column."""
    header = next(_read_lines(file), (0, []))[1]
    columns = tuple(_column_name(name.strip()) for name in header)
    if columns.count("path") != 1 or len(set(columns)) < len(columns):
        raise ContractError(f"the first line is not a header with one path column ({file})", _header_hint(header))

    def rows() -> Iterator[tuple[str, dict[str, str]]]:
        lines = _read_lines(file, spaced=any(name.startswith(" ") for name in header[1:]))
        next(lines, None)
        for number, cells in lines:
            if not cells:
                continue
            if len(cells) != len(columns):
                raise ContractError(
                    f"{len(cells)} cells where the header has {len(columns)} ({file}, line {number})",
                    "quote a cell that holds a comma",
                )
            yield f"{file}, line {number}", dict(zip(columns, cells, strict=True))

    return ImageTable(spec, file, columns, rows)


def _read_lines(file: Path, spaced: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every line. `spaced`: a space after a comma is not part of the cell."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True, skipinitialspace=spaced)
            for cells in reader:
                yield reader.line_num, cells
    except (csv.Error, UnicodeDecodeError) as error:
        hint = f"write parquet:{file.name}" if file.suffix == ".parquet" else "fix that line, or save it as UTF-8"
        raise ContractError(f"not valid CSV in UTF-8: {error} ({file})", hint) from None
    except OSError as error:
        raise UsageError(f"cannot read {quote(str(file))}: {error.strerror}") from None


def _header_hint(header: list[str]) -> str:
    """What to write as header; for a file whose cells another sign separates, which one."""
    sign = next((sign for sign in ("\t", ";") if len(header) == 1 and sign in header[0]), None)
    return f"separate its cells by commas, not by {sign!r}" if sign else f"write {','.join(COLUMNS)}"


def _column_name(name: str) -> str:
    return "path" if name == "file_name" else name
