"""Runs that differ only in their seed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo_cli.store.records import check_value
from zoo_cli.training.run_record import IDENTITY_KEYS, read_record


def seedless_options(folder: Path | None) -> dict[str, Any] | None:
    """What a run was made from, without its seed; None if the folder is not a run."""
    record = _read_record(folder)
    if record is None:
        return None
    seedless = {key: value for key, value in record["options"].items() if key != "seed"}
    return {**{key: record.get(key) for key in IDENTITY_KEYS}, "options": seedless}


def run_seed(folder: Path | None) -> int | None:
    """The seed of a run; None if the folder is not a run."""
    record = _read_record(folder)
    seed = None if record is None else record["options"]["seed"]
    return seed if isinstance(seed, int) else None


def _read_record(folder: Path | None) -> dict[str, Any] | None:
    """The run.json of a run with a seed."""
    if folder is None or not (folder / "run.json").exists():
        return None
    record = read_record(folder / "run.json")
    check_value(Mapping[str, Any], record.get("options", {}), f"{folder / 'run.json'}, key options")
    return record if "seed" in record.get("options", {}) else None
