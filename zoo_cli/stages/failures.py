"""Samples that failed: written to errors/STAGE.parquet, and too many of them end the program with exit code 4."""

import re
from typing import Any

from zoo_cli import console, files, schemas
from zoo_cli.config import Config
from zoo_cli.errors import TooManyErrors, UsageError


def record(settings: Config, stage: str, failed: list[dict[str, Any]], total: int, max_errors: str) -> None:
    """Write what failed, or remove an older record; raise TooManyErrors above the limit."""
    import pyarrow as pa

    path = settings.errors(stage)
    if not failed:
        path.unlink(missing_ok=True)
        return
    failed = sorted(failed, key=lambda row: str(row["id"]))
    arrow = pa.schema([(column.name, pa.string()) for column in schemas.ERRORS.columns])
    files.write_table(path, pa.Table.from_pylist(failed, schema=arrow), schemas.ERRORS, {"stage": stage})
    first = failed[0]
    console.warn(f"{len(failed):,} of {total:,} images failed, e.g. {first['id']}: {first['error']}; all in {path}")
    if len(failed) > limit(max_errors, total):
        raise TooManyErrors(
            f"{stage}: {len(failed):,} of {total:,} images failed, more than --max-errors {max_errors}",
            f"{path} names them; the sound ones are done",
        )


def ids(settings: Config, stage: str) -> frozenset[str]:
    """The samples that failed in a stage before this one."""
    path = settings.errors(stage)
    return (
        frozenset(files.read_table(path, schemas.ERRORS, ["id"]).column("id").to_pylist())
        if path.exists()
        else frozenset()
    )


def limit(max_errors: str, total: int) -> float:
    """How many of `total` may fail: "10" or "1%"."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(%?)", max_errors)
    if not found:
        raise UsageError(f'--max-errors "{max_errors}"', "it takes a number or N%")
    return total * float(found[1]) / 100 if found[2] else float(found[1])
