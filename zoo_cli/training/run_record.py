"""What the files of a run say about it, read without loading a network."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from zoo_cli.errors import ContractError, UsageError
from zoo_cli.store import files
from zoo_cli.store.records import build_record, check_value
from zoo_cli.training.training_config import LoopOptions, ResolvedTraining

AGAIN = "make the run again with --overwrite"
IDENTITY_KEYS = ("objective", "student", "options", "weights", "teachers", "inputs")
"""The keys of run.json on which the student depends, apart from the machine."""

UNRECORDED = ("checkpoint_every", "log_every")
"""Options on which the student does not depend."""


@dataclass(frozen=True)
class WeighedSource:
    """A source that a run learns from, and its weight."""

    source: str
    weight: float


@dataclass(frozen=True)
class StudentSize:
    """The parameters of a student, and its multiply-accumulates for one image."""

    parameters: int
    macs: int


@dataclass(frozen=True)
class RunRecord:
    """What run.json says a run was made from; `source`: that of fine-tuning, `task`: "" in an early version.

    `asked`: what the user asked for; `size`: of the finished student; both None in a run of an earlier version.
    """

    objective: str
    student: Mapping[str, Any]
    options: Mapping[str, Any]
    inputs: Mapping[str, Any]
    weights: Sequence[WeighedSource] = ()
    teachers: Sequence[WeighedSource] | None = None
    source: str | None = None
    task: str | None = None
    asked: Mapping[str, Any] | None = None
    size: StudentSize | None = None


@dataclass(frozen=True)
class _Document:
    """The keys of a run.json with the types of their values; a run of an early version lacks some."""

    objective: str = ""
    student: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    weights: Sequence[WeighedSource] = ()
    teachers: Sequence[WeighedSource] | None = None
    source: str | None = None
    task: str = ""
    asked: Mapping[str, Any] = field(default_factory=dict)
    size: StudentSize | None = None
    device: str = ""
    threads: int = 0
    deterministic: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)
    processes: int = 1
    memory_format: str = ""
    written_last: str = ""


@dataclass(frozen=True)
class _LogRow:
    """What every row of metrics.jsonl holds beside its metrics."""

    step: int


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


def log_file(place: Path) -> Path:
    """The file beside a run for what may differ between equal runs: its seconds, and the command that made it."""
    return place.with_name(f"{place.name}.log.json")


def read_log(place: Path) -> Mapping[str, Any]:
    """The log beside a run or another artifact; empty without one, and for one that cannot be read."""
    file = log_file(place)
    try:
        content = files.read_json(file) if file.is_file() else {}
    except (ContractError, UsageError):
        return {}
    return content if isinstance(content, dict) else {}


def recorded_options(training: ResolvedTraining, options: LoopOptions, seed: int) -> dict[str, Any]:
    """The training options as run.json holds them under "options"."""
    return {
        **{key: value for key, value in asdict(options).items() if key not in UNRECORDED},
        "batch_size": training.batch_size,
        "augment": training.augment,
        "unlabelled_from": training.unlabelled_from,
        "recalibrate": training.recalibrate,
        "seed": seed,
    }


def read_record(file: Path) -> dict[str, Any]:
    """The content of a run.json. Raises ContractError for another file."""
    record = files.read_json(file)
    if not isinstance(record, dict):
        raise ContractError(f"{file} is not a run.json written by zoo", AGAIN)
    build_record(_Document, record, file, AGAIN, extra_keys=True)
    return record


def load_run_record(file: Path) -> RunRecord:
    """The run.json of a run. Raises ContractError for another file."""
    return build_record(RunRecord, read_record(file), file, AGAIN, extra_keys=True)


def load_result(path: Path) -> RunResult:
    """The result of a finished run, from its folder. Raises ContractError if its log is damaged."""
    log = path / "metrics.jsonl"
    rows = files.read_lines(log)
    if not rows:
        raise ContractError(f"{log} is damaged: it has no last row", AGAIN)
    step = build_record(_LogRow, rows[-1], log, AGAIN, extra_keys=True).step
    check_value(Mapping[str, float], rows[-1], log, AGAIN)
    return RunResult(path.name, path, step, rows[-1])
