"""Tables of sources and targets that any tool may have written: CSV or parquet, column names in any case.

A source is the column `source`; in the PARC benchmark's files it is `Architecture` and `Source Dataset`, joined by "/".
A target is `target` or `Target Dataset`; without either, all rows are of one target, "". A column `run` or `seed` says
that rows of the same source and target are repetitions.
"""

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo_cli.errors import ContractError, UsageError
from zoo_cli.store import files

SOURCE = ("source", "architecture", "source dataset")
TARGET = ("target", "target dataset")
REPEATED = ("run", "seed")
KEYS = (*SOURCE, *TARGET, *REPEATED)


@dataclass(frozen=True)
class Table:
    """Columns by their names as the file has them; an empty cell is None."""

    path: Path
    columns: dict[str, list[Any]]

    @property
    def size(self) -> int:
        """The number of rows."""
        return len(next(iter(self.columns.values()), []))

    def find(self, *names: str) -> list[Any] | None:
        """The column of the first of these names that the table has."""
        known = {name.casefold(): column for name, column in self.columns.items()}
        return next((known[name] for name in names if name in known), None)

    def sources(self) -> list[str]:
        """The source of every row. Raises ContractError where a row names none."""
        if self.find("source") is not None or self.find("source dataset") is None:
            return self._names("source")
        names = self._names("source dataset")
        if self.find("architecture") is None:
            return names
        pairs = zip(self._names("architecture"), names, strict=True)
        return [f"{architecture}/{name}" for architecture, name in pairs]

    def targets(self) -> list[str]:
        """The target of every row, "" where the table has no such column."""
        return self._names(*TARGET) if self.find(*TARGET) is not None else [""] * self.size

    def repetitions(self) -> list[str]:
        """Which repetition every row is of, "" where the table has no such column."""
        return self._names(*REPEATED) if self.find(*REPEATED) is not None else [""] * self.size

    def numbers(self, name: str, column: list[Any]) -> list[float]:
        """A column's numbers, NaN for an empty cell. Raises ContractError for a text, and for an infinite one."""
        return [self._number(name, row, cell) for row, cell in enumerate(column, 1)]

    def _number(self, name: str, row: int, cell: Any) -> float:
        try:
            number = math.nan if cell is None else float(cell)
        except (TypeError, ValueError):
            raise ContractError(f'{self.path}: "{cell}" in column {name}, row {row}, is no number') from None
        if math.isinf(number):
            raise ContractError(
                f"{self.path}: column {name}, row {row}, is not finite", "leave the cell empty where nothing is known"
            )
        return number

    def _names(self, *names: str) -> list[str]:
        column = self.find(*names)
        if column is None:
            said = ", ".join(self.columns) or "none"
            raise ContractError(f"{self.path} has no column {names[0]}", f"its columns: {said}")
        texts = ["" if cell is None else str(cell).strip() for cell in column]
        if "" in texts:
            raise ContractError(f"{self.path}: no {names[0]} in row {texts.index('') + 1}")
        return texts


def load_table(path: Path) -> Table:
    """The table in a .csv or .parquet file. Raises UsageError for others, ContractError where it is broken."""
    if path.suffix.lower() == ".csv":
        columns = _csv(path)
    elif path.suffix.lower() == ".parquet":
        found = files.read_parquet(path)
        columns = [(name, column.to_pylist()) for name, column in zip(found.column_names, found.columns, strict=True)]
    else:
        raise UsageError(f"{path} is no table", "its name ends in .csv or .parquet")
    folded = [name.casefold() for name, _ in columns]
    twice = next((name for name in folded if folded.count(name) > 1), None)
    if twice is not None:
        raise ContractError(f"{path} has two columns {twice}", "names are the same in any case")
    table = Table(path, dict(columns))
    if not table.size:
        raise ContractError(f"{path} has no rows")
    return table


def _csv(path: Path) -> list[tuple[str, list[Any]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            names = [name.strip() for name in next(reader, [])]
            rows = []
            for cells in reader:
                if cells and len(cells) != len(names):
                    raise ContractError(
                        f"{len(cells)} cells where the header has {len(names)} ({path}, line {reader.line_num})",
                        "quote a cell that holds a comma",
                    )
                if cells:
                    rows.append([cell.strip() or None for cell in cells])
    except (csv.Error, UnicodeDecodeError) as error:
        raise ContractError(f"no table in UTF-8: {error} ({path})") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    return [(name, [row[place] for row in rows]) for place, name in enumerate(names)]
