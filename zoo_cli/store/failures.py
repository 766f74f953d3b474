"""Samples that failed: written to errors/STAGE.parquet; too many of them end the program with exit code 4."""

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from zoo_cli import console
from zoo_cli.config import Config
from zoo_cli.errors import ContractError, TooManyErrors, UsageError
from zoo_cli.store import parquet_files, schemas
from zoo_cli.store.columns import arrow_schema

T = TypeVar("T")

BESIDE_STAGE = ".extract.beside"
"""Where failures are kept while outputs that lack these samples are made beside those that have them."""


@dataclass(frozen=True)
class Failure:
    """One sample that failed: its id, its file if it has one, and why."""

    id: str
    path: str | None
    error: str


@dataclass(frozen=True)
class FailureRecord:
    """The failures of a stage: `failed` of `total` images, and the `max_errors` with which its output was made."""

    path: Path
    failed: int
    total: int
    max_errors: str


def record_failures(settings: Config, stage: str, failures: Sequence[Failure], total: int, max_errors: str) -> None:
    """Write the failures, or remove an older record. `check_failures` raises above the limit."""
    path = settings.errors(stage)
    if not failures:
        path.unlink(missing_ok=True)
        return
    write_failures(path, stage, failures, total, max_errors)
    warn_of_failures(path, failures, total)


def write_failures(
    path: Path,
    stage: str,
    failures: Sequence[Failure],
    total: int | None,
    max_errors: str,
    temporary: Path | None = None,
) -> None:
    """Write the record of a stage, ordered by id. `temporary`: see `parquet_files.table_writer`."""
    ordered = sorted(failures, key=lambda failure: failure.id)
    table = pa.Table.from_pylist([asdict(failure) for failure in ordered], schema=arrow_schema(schemas.ERRORS))
    inputs = {"stage": stage, "total": total, "max_errors": max_errors}
    with parquet_files.table_writer(path, schemas.ERRORS, inputs, table.schema, temporary=temporary) as write:
        write(table)


def warn_of_failures(path: Path, failures: Sequence[Failure], total: int) -> None:
    """Say how many images failed, and the first of them."""
    first = min(failures, key=lambda failure: failure.id)
    console.warn(
        f"{len(failures):,} of {total:,} images failed, e.g. {first.id}: {first.error}; all are listed in {path}"
    )


def load_record(settings: Config, stage: str) -> FailureRecord | None:
    """The record of a stage; None if nothing failed, or if an earlier version of zoo wrote it."""
    path = settings.errors(stage)

    def read() -> FailureRecord | None:
        inputs = parquet_files.read_header(path).get("inputs")
        total, max_errors = (inputs.get(key) if isinstance(inputs, dict) else None for key in ("total", "max_errors"))
        if not isinstance(total, int) or not isinstance(max_errors, str):
            return None
        return FailureRecord(path, parquet_files.row_count(path), total, max_errors)

    return _read_if_there(path, read, None)


def check_failures(settings: Config, stage: str, max_errors: str | None) -> None:
    """Raise TooManyErrors if more images failed than `max_errors`, by default the limit of the stored output."""
    record = load_record(settings, stage)
    if record is None:
        return
    limit = max_errors or record.max_errors
    if record.failed > parse_limit(limit, record.total):
        raise TooManyErrors(
            f"{stage}: {record.failed:,} of {record.total:,} images failed, more than --max-errors {limit}",
            f"{record.path} lists them; the other images are done",
        )


def warn_of_too_many(settings: Config, stage: str) -> None:
    """Say that an input was made with more failures than its limit: the command that reads it goes on."""
    try:
        check_failures(settings, stage, None)
    except TooManyErrors as error:
        console.warn(f"{error}")


def add_failures(settings: Config, stage: str, failures: Sequence[Failure], max_errors: str) -> None:
    """Record failures before the output that lacks them is written: a kill in between leaves no gap unexplained."""
    new = {failure.id for failure in failures}
    known = [*(old for old in load_failures(settings, stage) if old.id not in new), *failures]
    write_failures(settings.errors(stage), stage, known, None, max_errors)


def add_total(settings: Config, stage: str, total: int, max_errors: str | None) -> None:
    """Complete the record that `add_failures` left when its process ended. `max_errors`: None keeps its limit."""
    path = settings.errors(stage)

    def read_limit() -> str | None:
        inputs = parquet_files.read_header(path).get("inputs")
        if not isinstance(inputs, dict) or inputs.get("total", 0) is not None:
            return None
        return max_errors or str(inputs.get("max_errors"))

    limit = _read_if_there(path, read_limit, None)
    if limit is not None and (known := load_failures(settings, stage)):
        write_failures(path, stage, known, total, limit)


def load_failures(settings: Config, stage: str) -> list[Failure]:
    """The recorded failures of a stage; empty if nothing failed."""
    path = settings.errors(stage)
    columns = [column.name for column in schemas.ERRORS.columns]

    def read() -> list[Failure]:
        return [Failure(**row) for row in parquet_files.read_table(path, schemas.ERRORS, columns).to_pylist()]

    return _read_if_there(path, read, [])


def discard_damaged(settings: Config, stage: str) -> None:
    """Remove the record of a stage that is made again as a whole, if it is damaged."""
    try:
        load_failures(settings, stage)
    except ContractError as error:
        console.say(f"{error.message}; it is made again")
        settings.errors(stage).unlink(missing_ok=True)


def failed_ids(settings: Config, stage: str) -> frozenset[str]:
    """The ids of the samples that failed in a stage."""
    return frozenset(failure.id for failure in load_failures(settings, stage))


def parse_limit(max_errors: str, total: int) -> float:
    """How many of `total` may fail: "10" or "1%". Raises UsageError."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(%?)", max_errors)
    if not match:
        raise UsageError(f'--max-errors "{max_errors}"', "expected a number or N%")
    return total * float(match[1]) / 100 if match[2] else float(match[1])


def _read_if_there(path: Path, read: Callable[[], T], absent: T) -> T:
    """What a function reads of a file that another process may remove meanwhile."""
    if not path.exists():
        return absent
    try:
        return read()
    except UsageError:
        if path.exists():
            raise
        return absent
