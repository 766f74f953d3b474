"""The folder of a run: its inputs, its log, its checkpoints, and the trained student."""

import importlib.metadata
import importlib.util
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from zoo_cli import __version__, console, ranks
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.store import files, provenance
from zoo_cli.training.checkpoints import State
from zoo_cli.training.run_record import IDENTITY_KEYS

FILES = ("predictions.parquet", "model.safetensors", "config.json", "README.md", "metrics.jsonl", "sweep.json")
PARTS = ("state", "teachers", "sweep")
"""The folders inside: checkpoints, and the runs that lead to this one."""
STARTED = (
    "state/state.json",
    *(f"{part}/*/{file}" for part in PARTS[1:] for file in ("state/state.json", "predictions.parquet")),
)
"""Files of which at least one exists once training has begun."""


@dataclass
class RunFolder:
    """The folder of a run. `record`: its run.json as requested; after `open`, that of the existing run."""

    path: Path
    record: dict[str, Any]

    @property
    def finished(self) -> bool:
        """Whether the student is there: its predictions are written last."""
        return (self.path / "predictions.parquet").exists()

    def open(self, *, overwrite: bool) -> None:
        """Make the folder, or check that the existing run is this one. Raises UsageError, naming what differs.

        In a job of several processes rank 0 does it, and the others read what it has opened.
        """
        ranks.first_does(lambda: self._open(overwrite=overwrite))
        if not ranks.is_first():
            opened = files.read_json(self.path / "run.json")
            if changed := provenance.differences(_flatten(opened), _flatten(self.record)):
                raise provenance.stale_error(str(self.path), changed)
            self.record = opened

    def _open(self, *, overwrite: bool) -> None:
        file = self.path / "run.json"
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path} is a file, not a folder", "choose another folder")
        if self.path.exists() and not file.exists() and any(self.path.iterdir()):
            raise UsageError(f"{self.path} is not a run folder and not empty", "choose another folder, or remove it")
        started = self.finished or any(path for pattern in STARTED for path in self.path.glob(pattern))
        if file.exists() and overwrite:
            self._clear()
        if file.exists():
            existing = files.read_json(file)
            if not isinstance(existing, dict):
                raise ContractError(f"{file} is not a run.json written by zoo", "--overwrite starts the run again")
            changed = provenance.differences(_flatten(existing), _flatten(self.record))
            if changed and started:
                raise provenance.stale_error(str(self.path), changed)
            if changed:
                # Nothing is trained yet, e.g. after a wrong flag: starting again loses nothing.
                self._clear()
            if started and not self.finished:
                self._warn_of_another_machine(existing)
            if started:
                self.record = existing
                return
        files.write_json(file, self.record)

    def record_machine(self, key: str, value: str) -> None:
        """Add to run.json what was decided on this machine. Only rank 0 of a job writes it."""
        self.record[key] = value
        if ranks.is_first():
            files.write_json(self.path / "run.json", self.record)

    def state(self) -> State | None:
        """The last checkpoint. Raises ContractError if it is damaged."""
        pointer = self.path / "state" / "state.json"
        if not pointer.exists():
            return None
        entry = files.read_json(pointer)
        if not isinstance(entry, dict) or not entry.keys() >= {"step", "file", "sha256", "log"}:
            raise ContractError(f"{pointer} does not name a checkpoint", "--overwrite starts the run again")
        file = pointer.with_name(entry["file"])
        if files.digest(file) != entry["sha256"]:
            raise ContractError(f"the checkpoint {file} is damaged", "--overwrite starts the run again")
        tensors, _ = files.read_tensors(file)
        return State(entry["step"], tensors, entry["log"])

    def save(self, state: State) -> None:
        """Write a checkpoint, point state.json to it, and remove the previous one. Only rank 0 of a job does."""
        if not ranks.is_first():
            return
        folder = self.path / "state"
        file = folder / f"step-{state.step:08}.safetensors"
        files.write_tensors(file, state.tensors)
        entry = {"step": state.step, "file": file.name, "sha256": files.digest(file), "log": state.log}
        files.write_json(folder / "state.json", entry)
        for path in folder.glob("step-*.safetensors"):
            if path != file:
                path.unlink()

    def truncate_log(self, step: int) -> None:
        """Drop the logged rows after a step, which will be logged again. Only rank 0 of a job does."""
        if not ranks.is_first():
            return
        log = self.path / "metrics.jsonl"
        rows = files.read_lines(log) if log.exists() else []
        files.write_lines(log, [row for row in rows if row["step"] <= step])

    def log(self, row: Mapping[str, Any]) -> None:
        """Append a row to the log. Only rank 0 of a job does."""
        if ranks.is_first():
            files.append_lines(self.path / "metrics.jsonl", [row])

    def _warn_of_another_machine(self, existing: Mapping[str, Any]) -> None:
        """Warn of everything but the record's inputs on which the bits of a run depend, in one line."""
        on_cpu = existing.get("device") == self.record["device"] == "cpu"
        before, now = ({"processes": 1, **record} for record in (existing, self.record))
        changes = [
            f"{key} {_in_words(before.get(key))}, not {_in_words(now.get(key))}"
            for key in ("device", "card", "versions", "deterministic", "processes", *(("threads",) if on_cpu else ()))
            if before.get(key) != now.get(key)
        ]
        if changes:
            console.warn(
                f"{self.path} was started with {'; '.join(changes)}: "
                "its bits will differ from those of an uninterrupted run"
            )

    def _clear(self) -> None:
        for name in FILES:
            (self.path / name).unlink(missing_ok=True)
        for part in PARTS:
            shutil.rmtree(self.path / part, ignore_errors=True)
        (self.path / "run.json").unlink()


def library_versions() -> dict[str, str]:
    """The versions on which the bits of a run depend."""
    return {"zoo": __version__, "torch": torch.__version__, "torchvision": _torchvision_version()}


def _torchvision_version() -> str:
    """torchvision.__version__ without importing it, which takes a second: its build tag is not in the metadata."""
    spec = importlib.util.find_spec("torchvision")
    file = None if spec is None or spec.origin is None else Path(spec.origin).with_name("version.py")
    text = file.read_text(encoding="utf-8") if file is not None and file.is_file() else ""
    version = re.search(r"^__version__ = ['\"](.+)['\"]", text, re.MULTILINE)
    return version[1] if version else importlib.metadata.version("torchvision")


def _in_words(value: Any) -> str:
    """A value of run.json for a message: versions by name, in a row."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    return "none" if value is None else str(value)


def _flatten(record: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that matter, one level down, so that a difference is reported by its own key.

    A key that is used twice, such as the option "teachers" and the teachers, is reported with both names.
    """
    flat = {key: record.get(key) for key in IDENTITY_KEYS}
    for key, value in list(flat.items()):
        if isinstance(value, dict):
            del flat[key]
            for name, part in value.items():
                flat[name if name not in flat else f"{key} {name}"] = part
    return flat
