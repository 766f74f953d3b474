"""`csv:FILE?path=COLUMN&label=COLUMN&root=FOLDER`: a table with the header `path[,label][,id][,group]`, in UTF-8.

Its cells are separated by commas, semicolons, tabs or `|`: by the sign that sets the path column apart in the header,
or by the one that `?delimiter=` names. Paths are relative to the table, or to the root, and must stay inside that
folder. An empty label means unknown. If all labels are plain integers, they are class numbers (classes "0" to the
largest); otherwise they are names ("007" is one), and the classes are the sorted names. `file_name`, the Hugging Face
column, is an alias of `path`. Where the header has a space after its delimiters, so have the rows.

Python's csv module reads the table, not pyarrow.csv, which gives no line number for a row that parses, accepts an
unterminated quote, and has no limit on the length of a cell.
"""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from zoo_cli import specs
from zoo_cli.data.image_table import ImageTable, choose_path, open_table_root, read_image_table
from zoo_cli.data.samples import Data, resolve_path, split_options
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.text_escapes import quote

COLUMNS = ("path", "label", "id", "group")
DELIMITERS: Mapping[str, str] = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
"""The signs that `?delimiter=` names, by name; the sign itself will do too."""


def read_csv(rest: str, root: Path, follow_links: bool = False) -> Data:
    """The images that a table lists, in its order. Without an id column, the id is the path as the table gives it.

    Raises UsageError for a missing file or column, ContractError for a table that breaks the rules above; paths are
    checked while the samples are read.
    """
    path, options = split_options("csv", rest, root)
    file = resolve_path(path, root)
    if not file.is_file():
        raise UsageError(f"no table {quote(str(file))}", "paths are relative to the workspace")
    images = open_table_root("csv", path, file, root, options.get("root"), follow_links)
    delimiter = _parse_delimiter(options["delimiter"]) if "delimiter" in options else None
    table = open_csv(file, f"csv:{path}", options.get("path"), delimiter)
    return read_image_table(table, images, root, options.get("label"))


def open_csv(file: Path, spec: str, path: str | None = None, delimiter: str | None = None) -> ImageTable:
    """A CSV file as a table of images.

    `path`: the column of the image files, by default `path` or `file_name`; `delimiter`: what separates cells, by
    default what the header tells. Raises ContractError if its first line is not a header with a path column.
    """
    sign = delimiter or _detect_delimiter(file, path)
    lines = _read_lines(file, sign)
    header = next(lines, (0, []))[1]
    columns = tuple(name.strip() for name in header)
    first = next((cells for _, cells in lines if cells), []) if path is None else []
    column = choose_path(path, columns, spec, file, dict(zip(columns, first, strict=False)))
    if len(set(columns)) < len(columns):
        repeated = next(name for name in columns if columns.count(name) > 1)
        raise ContractError(f"two columns {quote(repeated)} in the header of {file}", "rename or drop one")
    names = tuple("path" if name == "file_name" and "path" not in columns else name for name in columns)

    def rows() -> Iterator[tuple[str, dict[str, str]]]:
        lines = _read_lines(file, sign, spaced=any(name.startswith(" ") for name in header[1:]))
        next(lines, None)
        for number, cells in lines:
            if not cells:
                continue
            if len(cells) != len(columns):
                name = next((name for name, each in DELIMITERS.items() if each == sign), sign)
                raise ContractError(
                    f"{len(cells)} cells where the header has {len(columns)} ({file}, line {number})",
                    f"quote a cell that holds a {name}",
                )
            yield f"{file}, line {number}", dict(zip(names, cells, strict=True))

    return ImageTable(spec, file, names, rows, path=names[columns.index(column)])


def _parse_delimiter(text: str) -> str:
    """The sign that an option names, by its name or as it is."""
    sign = DELIMITERS.get(text, text)
    if sign not in DELIMITERS.values():
        raise specs.nearest("delimiter", text, DELIMITERS)
    return sign


def _detect_delimiter(file: Path, path: str | None) -> str:
    """The sign that sets the path column of the header apart, else the one that gives most columns."""
    headers: dict[str, list[str]] = {}
    for sign in DELIMITERS.values():
        try:
            headers[sign] = [name.strip() for name in next(_read_lines(file, sign), (0, []))[1]]
        except ContractError:
            continue  # a quoted name is not followed by this sign
    wanted = {path} if path is not None else {"path", "file_name"}
    apart = [sign for sign, names in headers.items() if wanted & set(names)]
    return max(apart or headers or [","], key=lambda sign: len(headers.get(sign, ())))


def _read_lines(file: Path, delimiter: str, spaced: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every line. `spaced`: a space after a delimiter is not part of the cell."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True, skipinitialspace=spaced, delimiter=delimiter)
            for cells in reader:
                yield reader.line_num, cells
    except (csv.Error, UnicodeDecodeError) as error:
        other = {".parquet": "parquet", ".jsonl": "jsonl"}.get(file.suffix)
        hint = f"write {other}:{file.name}" if other else "fix that line, or save it as UTF-8"
        raise ContractError(f"not valid CSV in UTF-8: {error} ({file})", hint) from None
    except OSError as error:
        raise UsageError(f"cannot read {quote(str(file))}: {error.strerror}") from None
