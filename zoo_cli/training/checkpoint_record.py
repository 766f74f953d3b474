"""The last checkpoint of a run as state.json describes it, checked without loading a tensor."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo_cli.errors import ContractError
from zoo_cli.store import files, provenance
from zoo_cli.store.checksums import RECORD, WRITTEN_LAST
from zoo_cli.store.records import build_record
from zoo_cli.training.run_record import read_record

POINTER = "state/state.json"
LOG = "metrics.jsonl"
AGAIN = "--overwrite starts the run again"


@dataclass(frozen=True)
class RowSoFar:
    """What a checkpoint holds of the row of the log that is not complete yet: its first step, its names."""

    names: tuple[str, ...]
    row_start: int


@dataclass(frozen=True)
class Checkpoint:
    """The content of state.json; earlier versions had neither the digest of the rows nor its own."""

    step: int
    file: str
    sha256: str
    log: RowSoFar
    rows: str | None = None
    digest: str | None = None


def load_checkpoint(folder: Path, record: Mapping[str, Any] | None = None) -> Checkpoint | None:
    """The last checkpoint of the run in a folder; None without one.

    `record`: the content of its run.json, by default as it is. Raises ContractError if the checkpoint, or the log up to
    it, is damaged.
    """
    pointer = folder / POINTER
    if not pointer.exists():
        return None
    try:
        entry = files.read_json(pointer)
    except ContractError as error:
        raise ContractError(error.message, AGAIN) from None
    checkpoint = build_record(Checkpoint, entry, pointer, AGAIN)
    record = read_record(folder / RECORD) if record is None else record
    if WRITTEN_LAST in record and entry.pop("digest", None) != provenance.fingerprint(entry):
        raise ContractError(f"{pointer} is damaged", AGAIN)
    if checkpoint.rows is not None and checkpoint.rows != provenance.fingerprint(load_rows(folder, checkpoint.step)):
        raise ContractError(f"{folder / LOG} is damaged", AGAIN)
    file = pointer.with_name(checkpoint.file)
    if files.digest(file) != checkpoint.sha256:
        raise ContractError(f"the checkpoint {file} is damaged", AGAIN)
    return checkpoint


def load_rows(folder: Path, step: int) -> list[dict[str, Any]]:
    """The logged rows up to a step. Raises ContractError if the log is damaged."""
    log = folder / LOG
    try:
        rows = files.read_lines(log) if log.exists() else []
    except ContractError as error:
        raise ContractError(error.message, AGAIN) from None
    return [row for row in rows if isinstance(row.get("step"), int) and row["step"] <= step]
