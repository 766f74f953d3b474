"""What the files of a run say about it, read without loading a network."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo_cli.errors import ContractError
from zoo_cli.store import files

IDENTITY_KEYS = ("objective", "student", "options", "weights", "teachers", "inputs")
"""The keys of run.json on which the student depends, apart from the machine."""


@dataclass(frozen=True)
class RunResult:
    """A finished run: its name, folder and length, and the last row of its log."""

    run: str
    path: Path
    steps: int
    last_log_row: Mapping[str, float]

    @property
    def row(self) -> dict[str, Any]:
        """The run as a row of an answer."""
        return {**self.last_log_row, "run": self.run, "steps": self.steps, "path": str(self.path)}


def load_result(path: Path) -> RunResult:
    """The result of a finished run, from its folder. Raises ContractError if its log is damaged."""
    log = path / "metrics.jsonl"
    rows = files.read_lines(log)
    if not rows or not isinstance(rows[-1].get("step"), int):
        raise ContractError(f"{log} is damaged: it has no last row", "make the run again with --overwrite")
    return RunResult(path.name, path, rows[-1]["step"], rows[-1])
