"""CSV files of any origin, as columns of text."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
from pyarrow import csv

from zoo_cli.errors import ContractError, UsageError


def read_csv(path: Path) -> list[list[str | None]]:
    """The columns of a CSV file in UTF-8, with or without a byte order mark; the header is their first cell.

    Cells are stripped, an empty one is None, blank lines are skipped. No columns if the file is empty. Raises
    UsageError if the file cannot be read, ContractError if it is not UTF-8, a quote is not closed, or a line has more
    or fewer cells than the first.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _broken(path, str(error)) from None
    except FileNotFoundError:
        raise UsageError(f"no file {path}") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    if not text.strip():
        return []
    columns = _parse(path, text)
    # The parser closes an open quote at the end of the file, however many rows it swallows.
    if (columns[-1][-1] or "").endswith("\n") and _has_open_quote(text):
        raise _broken(path, "a quote is not closed")
    return [[(cell or "").strip() or None for cell in column] for column in columns]


def _parse(path: Path, text: str) -> list[list[str | None]]:
    content = (text + "\n").encode()
    ragged: list[csv.InvalidRow] = []

    def refuse(row: csv.InvalidRow) -> str:
        ragged.append(row)  # an exception here would be printed and dropped
        return "error"

    def parse(types: Mapping[str, pa.DataType]) -> pa.Table:
        return csv.read_csv(
            pa.BufferReader(content),
            csv.ReadOptions(use_threads=False, autogenerate_column_names=True, block_size=len(content) + 1),
            csv.ParseOptions(newlines_in_values=True, invalid_row_handler=refuse),
            csv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=True),
        )

    try:
        # First the number of columns, then all of them as text: left to itself, the parser reads "007" as a number.
        table = parse(dict.fromkeys(parse({}).column_names, pa.string()))
    except pa.ArrowInvalid as error:
        if ragged:
            row = ragged[0]
            line = text.splitlines().index(row.text.splitlines()[0]) + 1
            raise ContractError(
                f"{row.actual_columns} cells where the header has {row.expected_columns} ({path}, line {line})",
                "quote a cell that holds a comma",
            ) from None
        raise _broken(path, "a quote is not closed" if _has_open_quote(text) else str(error)) from None
    return [column.to_pylist() for column in table.columns]


def _has_open_quote(text: str) -> bool:
    return text.count('"') % 2 == 1


def _broken(path: Path, reason: str) -> ContractError:
    return ContractError(f"{path} is not a CSV file in UTF-8: {reason}", "fix it, or save the table as parquet")
