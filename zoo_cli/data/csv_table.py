"""`csv:FILE`: a table with the header `path[,label][,id][,group]`, comma separated, UTF-8.

Paths are relative to the table and stay inside its folder. An empty label means unknown. Labels that are all whole
numbers written plainly are class numbers (classes "0" to the largest); anything else is a name, "007" too, and classes
are the sorted names. `file_name`, Hugging Face's word, stands for `path`.
"""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from zoo_cli.data.samples import Data, Sample, beside, located, numbered, resolve_path, shown
from zoo_cli.errors import ContractError, UsageError

COLUMNS = ("path", "label", "id", "group")
NUMBER = re.compile(r"0|-?[1-9][0-9]*")


def read(rest: str, root: Path) -> Data:
    """The images that a table lists, in its order. The id is the path as the table gives it where it gives no id.

    Raises UsageError for a missing file, ContractError for a table that breaks the form above; a path that leaves the
    folder is found while the samples are read.
    """
    table = resolve_path(rest, root)
    if not table.is_file():
        raise UsageError(f"no table {shown(str(table))}", "paths are relative to the workspace")
    has_label = has_id = False
    texts: set[str] = set()
    for _, row in _rows(table):
        has_label, has_id = "label" in row, "id" in row
        texts.add(row.get("label", ""))
    texts.discard("")
    classes = _classes(texts, str(table)) if has_label and texts else None
    numbers = {name: position for position, name in enumerate(classes or ())}

    def samples() -> Iterator[Sample]:
        for number, row in _rows(table):
            where = f"{table}, line {number}"
            path = beside(row["path"], table.parent, where)
            name = row["id"] if has_id else path.relative_to(table.parent).as_posix()
            if not name:
                raise ContractError(f"an empty id ({where})", "give every row an id, or leave the column out")
            label = row.get("label", "")
            yield Sample(name, located(path, root), None, numbers[label] if label else None, row.get("group") or None)

    return Data(classes, samples, own_ids=has_id)


def _classes(texts: set[str], where: str) -> tuple[str, ...]:
    if not all(NUMBER.fullmatch(text) for text in texts):
        return tuple(sorted(texts))
    if any(text.startswith("-") for text in texts):
        raise ContractError(f"a negative label ({where})", "number the classes from 0; leave the cell empty for none")
    return numbered(max(map(int, texts)) if max(map(len, texts)) < 10 else 10**9, where)


def _rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and named cells of every row; blank lines are skipped."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [_known(name.strip()) for name in next(reader, [])]
            if header.count("path") != 1 or len(set(header)) < len(header):
                raise ContractError(
                    f"the first line is not a header with path once ({table})", f"write {','.join(COLUMNS)}"
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
        raise ContractError(f"no table in UTF-8: {error} ({table})") from None
    except OSError as error:
        raise UsageError(f"cannot read {shown(str(table))}: {error.strerror}") from None


def _known(name: str) -> str:
    return "path" if name == "file_name" else name
