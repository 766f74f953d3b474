"""`jsonl:FILE?path=KEY&label=KEY&root=FOLDER`: a table of one JSON object a line, with the rules of `csv:`.

The keys `path` (or `file_name`), `label`, `id` and `group` are its columns. A key that is missing, or null, is unknown.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zoo_cli.data.image_table import ImageTable, choose_path, open_table_root, read_image_table
from zoo_cli.data.samples import Data, resolve_path, split_options
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.text_escapes import quote


def read_jsonl(rest: str, root: Path, follow_links: bool = False) -> Data:
    """The images that a table lists, in its order. Without ids, the id is the path as the table gives it.

    Raises UsageError for a missing file or column, ContractError for a line that is not an object; paths are checked
    while the samples are read.
    """
    path, options = split_options("jsonl", rest, root)
    file = resolve_path(path, root)
    if not file.is_file():
        raise UsageError(f"no table {quote(str(file))}", "paths are relative to the workspace")
    images = open_table_root("jsonl", path, file, root, options.get("root"), follow_links)
    table = _open_table(file, f"jsonl:{path}", options.get("path"))
    return read_image_table(table, images, root, options.get("label"))


def _open_table(file: Path, spec: str, path: str | None) -> ImageTable:
    columns: dict[str, str] = {}  # by name, the first cell that is not empty
    for _, row in read_json_lines(file):
        for name, value in row.items():
            columns[name] = columns.get(name) or cell_text(value)
    if not columns:
        raise ContractError(f"no rows in {file}", 'write one JSON object a line: {"path": …, "label": …}')
    column = choose_path(path, tuple(columns), spec, file, columns)

    def rows() -> Iterator[tuple[str, dict[str, str]]]:
        for number, row in read_json_lines(file):
            where = f"{file}, line {number}"
            cells = {name: cell_text(row.get(name)) for name in columns}
            if not cells[column]:
                raise ContractError(f"no {column} ({where})", "name the image of every line, or drop the line")
            yield where, cells

    return ImageTable(spec, file, tuple(columns), rows, path=column)


def read_json_lines(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object of every line that is not blank. Raises ContractError for anything else."""
    number = 0
    try:
        with file.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise ContractError(f"not an object ({file}, line {number})", "write one JSON object a line")
                    if "\\ud" in line.lower():
                        json.dumps(row, ensure_ascii=False).encode()  # half a surrogate pair is not a character
                    yield number, row
    except json.JSONDecodeError as error:
        reason = f"{error.msg} at column {error.colno}"
        raise ContractError(
            f"not valid JSON lines in UTF-8: {reason} ({file}, line {number})", "fix that line"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ContractError(f"not valid JSON lines in UTF-8: {error} ({file})", "fix that line") from None
    except OSError as error:
        raise UsageError(f"cannot read {quote(str(file))}: {error.strerror}") from None


def cell_text(value: Any) -> str:
    """A cell as text: nothing for null, true and false for booleans, JSON for lists and objects."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, default=str)
