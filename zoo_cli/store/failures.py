"""Samples that failed: written to errors/STAGE.parquet; too many of them end the program with exit code 4."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import pyarrow as pa

from zoo_cli import console
from zoo_cli.config import Config
from zoo_cli.errors import TooManyErrors, UsageError
from zoo_cli.store import files, schemas
from zoo_cli.store.columns import arrow_schema


@dataclass(frozen=True)
class Failure:
    """One sample that failed: its id, its file if it has one, and why."""

    id: str
    path: str | None
    error: str


def record_failures(settings: Config, stage: str, failures: Sequence[Failure], total: int, max_errors: str) -> None:
    """Write the failures, or remove an older record. Raises TooManyErrors above the limit."""
    path = settings.errors(stage)
    if not failures:
        path.unlink(missing_ok=True)
        return
    first = _write(settings, stage, failures)[0]
    console.warn(
        f"{len(failures):,} of {total:,} images failed, e.g. {first.id}: {first.error}; all are listed in {path}"
    )
    if len(failures) > parse_limit(max_errors, total):
        raise TooManyErrors(
            f"{stage}: {len(failures):,} of {total:,} images failed, more than --max-errors {max_errors}",
            f"{path} lists them; the other images are done",
        )


def add_failures(settings: Config, stage: str, failures: Sequence[Failure]) -> None:
    """Record failures before the output that lacks them is written: a kill in between leaves no gap unexplained."""
    new = {failure.id for failure in failures}
    _write(settings, stage, [*(old for old in load_failures(settings, stage) if old.id not in new), *failures])


def load_failures(settings: Config, stage: str) -> list[Failure]:
    """The recorded failures of a stage; empty if nothing failed."""
    path = settings.errors(stage)
    if not path.exists():
        return []
    columns = [column.name for column in schemas.ERRORS.columns]
    return [Failure(**row) for row in files.read_table(path, schemas.ERRORS, columns).to_pylist()]


def failed_ids(settings: Config, stage: str) -> frozenset[str]:
    """The ids of the samples that failed in a stage."""
    return frozenset(failure.id for failure in load_failures(settings, stage))


def parse_limit(max_errors: str, total: int) -> float:
    """How many of `total` may fail: "10" or "1%". Raises UsageError."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(%?)", max_errors)
    if not match:
        raise UsageError(f'--max-errors "{max_errors}"', "expected a number or N%")
    return total * float(match[1]) / 100 if match[2] else float(match[1])


def _write(settings: Config, stage: str, failures: Sequence[Failure]) -> list[Failure]:
    ordered = sorted(failures, key=lambda failure: failure.id)
    table = pa.Table.from_pylist([asdict(failure) for failure in ordered], schema=arrow_schema(schemas.ERRORS))
    files.write_table(settings.errors(stage), table, schemas.ERRORS, {"stage": stage})
    return ordered
