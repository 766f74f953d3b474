"""`csv:FILE`: a table with the header `path[,label][,id][,group]`, comma separated, UTF-8.

Paths are relative to the table and must stay inside its folder. An empty label means unknown. If all labels are plain
integers, they are class numbers (classes "0" to the largest); otherwise they are names ("007" is one), and the classes
are the sorted names. `file_name`, the Hugging Face column, is an alias of `path`.

Python's csv module reads the table, not pyarrow.csv, which gives no line number for a row that parses, accepts an
unterminated quote, and has no limit on the length of a cell.
"""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from zoo_cli.data.samples import Data, Sample, number_classes, quote, resolve_beside, resolve_path, sample_path
from zoo_cli.errors import ContractError, UsageError

COLUMNS = ("path", "label", "id", "group")
NUMBER = re.compile(r"0|-?[1-9][0-9]*")


def read_csv(rest: str, root: Path) -> Data:
    """The images that a table lists, in its order. Without an id column, the id is the path as the table gives it.

    Raises UsageError for a missing file, ContractError for a table that breaks the rules above; paths are checked while
    the samples are read.
    """
    table = resolve_path(rest, root)
    if not table.is_file():
        raise UsageError(f"no table {quote(str(table))}", "paths are relative to the workspace")
    has_label = has_id = False
    labels: set[str] = set()
    for _, row in _read_rows(table):
        has_label, has_id = "label" in row, "id" in row
        labels.add(row.get("label", ""))
    labels.discard("")
    classes = _class_names(labels, str(table)) if has_label and labels else None
    numbers = {name: position for position, name in enumerate(classes or ())}

    def samples() -> Iterator[Sample]:
        for line, row in _read_rows(table):
            where = f"{table}, line {line}"
            path = resolve_beside(row["path"], table.parent, where)
            name = row["id"] if has_id else path.relative_to(table.parent).as_posix()
            if not name:
                raise ContractError(f"an empty id ({where})", "give every row an id, or leave the column out")
            label = row.get("label", "")
            yield Sample(
                id=name,
                path=sample_path(path, root),
                image=None,
                label=numbers[label] if label else None,
                group=row.get("group") or None,
            )

    return Data(classes, samples, own_ids=has_id)


def _class_names(labels: set[str], where: str) -> tuple[str, ...]:
    if not all(NUMBER.fullmatch(label) for label in labels):
        return tuple(sorted(labels))
    if any(label.startswith("-") for label in labels):
        raise ContractError(f"a negative label ({where})", "number the classes from 0; leave the cell empty for none")
    return number_classes(max(map(int, labels)) if max(map(len, labels)) < 10 else 10**9, where)


def _read_rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells by column of every row; blank lines are skipped."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [_column_name(name.strip()) for name in next(reader, [])]
            if header.count("path") != 1 or len(set(header)) < len(header):
                raise ContractError(
                    f"the first line is not a header with one path column ({table})", f"write {','.join(COLUMNS)}"
                )
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise ContractError(
                        f"{len(cells)} cells where the header has {len(header)} ({table}, line {reader.line_num})",
                        "quote a cell that holds a comma",
                    )
                row = dict(zip(header, cells, strict=True))
                if "label" in row:
                    row["label"] = row["label"].strip()
                yield reader.line_num, row
    except (csv.Error, UnicodeDecodeError) as error:
        raise ContractError(
            f"not valid CSV in UTF-8: {error} ({table})", "fix that line, or save it as UTF-8"
        ) from None
    except OSError as error:
        raise UsageError(f"cannot read {quote(str(table))}: {error.strerror}") from None


def _column_name(name: str) -> str:
    return "path" if name == "file_name" else name
