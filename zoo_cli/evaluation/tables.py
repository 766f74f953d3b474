"""Tables of sources and targets from any tool: CSV or parquet, column names in any case.

The source is the column `source`, or `Architecture` and `Source Dataset` joined by "/" as in the PARC benchmark. The
target is `target` or `Target Dataset`; without either, all rows belong to one target, "". A column `run` or `seed`
tells repetitions of one source and target apart.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo_cli.errors import ContractError, UsageError
from zoo_cli.store import csv_files, parquet_files

SOURCE = ("source", "architecture", "source dataset")
TARGET = ("target", "target dataset")
REPEATED = ("run", "seed")
KEYS = (*SOURCE, *TARGET, *REPEATED)


@dataclass(frozen=True)
class Table:
    """The columns of a file by name, as spelt there; an empty cell is None."""

    path: Path
    columns: dict[str, list[Any]]

    @property
    def size(self) -> int:
        """The number of rows."""
        return len(next(iter(self.columns.values()), []))

    def find(self, *names: str) -> list[Any] | None:
        """The column of the first of these names that the table has."""
        folded = {name.casefold(): column for name, column in self.columns.items()}
        return next((folded[name] for name in names if name in folded), None)

    def sources(self) -> list[str]:
        """The source of every row. Raises ContractError if a row has none."""
        if self.find("source") is not None or self.find("source dataset") is None:
            return self._names("source")
        names = self._names("source dataset")
        if self.find("architecture") is None:
            return names
        pairs = zip(self._names("architecture"), names, strict=True)
        return [f"{architecture}/{name}" for architecture, name in pairs]

    def targets(self) -> list[str]:
        """The target of every row, "" without such a column."""
        return self._names(*TARGET) if self.find(*TARGET) is not None else [""] * self.size

    def repetitions(self) -> list[str]:
        """The repetition that every row belongs to, "" without such a column."""
        return self._names(*REPEATED) if self.find(*REPEATED) is not None else [""] * self.size

    def numbers(self, name: str, column: list[Any]) -> list[float]:
        """A column as numbers, NaN for an empty cell. Raises ContractError for text and for infinite numbers."""
        return [self._number(name, row, cell) for row, cell in enumerate(column, 1)]

    def _number(self, name: str, row: int, cell: Any) -> float:
        try:
            number = math.nan if cell is None else float(cell)
        except (TypeError, ValueError):
            raise ContractError(f'{self.path}: "{cell}" in column {name}, row {row}, is not a number') from None
        if math.isinf(number):
            raise ContractError(
                f"{self.path}: column {name}, row {row}, is not finite", "leave the cell empty if there is no value"
            )
        return number

    def _names(self, *names: str) -> list[str]:
        column = self.find(*names)
        if column is None:
            raise ContractError(
                f"{self.path} has no column {names[0]}", f"its columns: {', '.join(self.columns) or 'none'}"
            )
        texts = ["" if cell is None else str(cell).strip() for cell in column]
        if "" in texts:
            raise ContractError(f"{self.path}: no {names[0]} in row {texts.index('') + 1}")
        return texts


def load_table(path: Path) -> Table:
    """The table in a .csv or .parquet file. Raises UsageError for other files, ContractError for a broken one."""
    if path.suffix.lower() == ".csv":
        columns = [(column[0] or "", column[1:]) for column in csv_files.read_csv(path)]
    elif path.suffix.lower() == ".parquet":
        table = parquet_files.read_parquet(path)
        columns = [(name, column.to_pylist()) for name, column in zip(table.column_names, table.columns, strict=True)]
    else:
        raise UsageError(f"{path} is not a table", "its name must end in .csv or .parquet")
    folded = [name.casefold() for name, _ in columns]
    twice = next((name for name in folded if folded.count(name) > 1), None)
    if twice is not None:
        raise ContractError(f"{path} has two columns {twice}", "upper and lower case count as the same name")
    if not columns or not columns[0][1]:
        raise ContractError(f"{path} has no rows")
    return Table(path, dict(columns))
