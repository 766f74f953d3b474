"""Samples that failed: written to errors/STAGE.parquet, and too many of them end the program with exit code 4."""

import re
from typing import Any

from zoo_cli import console
from zoo_cli.config import Config
from zoo_cli.errors import TooManyErrors, UsageError
from zoo_cli.store import files, schemas


def record_failures(settings: Config, stage: str, failed: list[dict[str, Any]], total: int, max_errors: str) -> None:
    """Write what failed, or remove an older record; raise TooManyErrors above the limit."""
    path = settings.errors(stage)
    if not failed:
        path.unlink(missing_ok=True)
        return
    first = _write(settings, stage, failed)[0]
    console.warn(f"{len(failed):,} of {total:,} images failed, e.g. {first['id']}: {first['error']}; all in {path}")
    if len(failed) > parse_limit(max_errors, total):
        raise TooManyErrors(
            f"{stage}: {len(failed):,} of {total:,} images failed, more than --max-errors {max_errors}",
            f"{path} names them; the sound ones are done",
        )


def add_failures(settings: Config, stage: str, failed: list[dict[str, Any]]) -> None:
    """Remember failures before the output that lacks them is there: a kill between the two leaves no unnamed hole."""
    new = {row["id"] for row in failed}
    _write(settings, stage, [row for row in load_failures(settings, stage) if row["id"] not in new] + failed)


def load_failures(settings: Config, stage: str) -> list[dict[str, Any]]:
    """What the record of a stage holds; empty where nothing failed."""
    path = settings.errors(stage)
    found: list[dict[str, Any]] = files.read_table(path, schemas.ERRORS).to_pylist() if path.exists() else []
    return found


def failed_ids(settings: Config, stage: str) -> frozenset[str]:
    """The samples that failed in a stage before this one."""
    return frozenset(row["id"] for row in load_failures(settings, stage))


def _write(settings: Config, stage: str, failed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    import pyarrow as pa

    failed = sorted(failed, key=lambda row: str(row["id"]))
    arrow = pa.schema([(column.name, pa.string()) for column in schemas.ERRORS.columns])
    table = pa.Table.from_pylist(failed, schema=arrow)
    files.write_table(settings.errors(stage), table, schemas.ERRORS, {"stage": stage})
    return failed


def parse_limit(max_errors: str, total: int) -> float:
    """How many of `total` may fail: "10" or "1%"."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(%?)", max_errors)
    if not found:
        raise UsageError(f'--max-errors "{max_errors}"', "it takes a number or N%")
    return total * float(found[1]) / 100 if found[2] else float(found[1])
