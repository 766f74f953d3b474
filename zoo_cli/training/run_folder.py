"""The folder of a run: what it was made from, its log, its checkpoints, and the student when it is done."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_cli import __version__, console
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.store import files, provenance

if TYPE_CHECKING:
    from zoo_cli.training.loop import State

ASKED = ("objective", "student", "options", "weights", "teachers", "inputs")
"""The keys of run.json on which the student depends, apart from the machine."""
FILES = ("predictions.parquet", "model.safetensors", "config.json", "README.md", "metrics.jsonl", "sweep.json")
PARTS = ("state", "teachers", "sweep")
"""The folders in a run's own: its checkpoints, and the runs that lead to it."""
BEGUN = (
    "state/state.json",
    *(f"{part}/*/{file}" for part in PARTS[1:] for file in ("state/state.json", "predictions.parquet")),
)
"""What is there of a run of which something is trained."""


@dataclass
class RunFolder:
    """A run folder. `said` is the run.json of the run that is asked for."""

    path: Path
    said: dict[str, Any]

    @property
    def finished(self) -> bool:
        """Whether its student is there: the predictions are written last."""
        return (self.path / "predictions.parquet").exists()

    def begin(self, *, overwrite: bool) -> None:
        """Make the folder, or check that the standing one is of the same run. Raises UsageError naming what differs."""
        standing = self.path / "run.json"
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path} is a file, where a run is a folder", "--out another place")
        if self.path.exists() and not standing.exists() and any(self.path.iterdir()):
            raise UsageError(f"{self.path} is no run folder and not empty", "--out another folder, or remove it")
        begun = self.finished or any(path for pattern in BEGUN for path in self.path.glob(pattern))
        if standing.exists() and overwrite:
            self._clear()
        if standing.exists():
            before = files.read_json(standing)
            if not isinstance(before, dict):
                raise ContractError(
                    f"{standing} does not say what a run of zoo says", "--overwrite begins the run again"
                )
            changed = provenance.differences(_flat(before), _flat(self.said))
            if changed and begun:
                raise provenance.stale_error(str(self.path), changed)
            if changed:
                # A run of which nothing is trained yet, as after a wrong flag, loses nothing when it begins anew.
                self._clear()
            for key in ("threads", "device", "versions"):
                if begun and not self.finished and before.get(key) != self.said[key]:
                    console.warn(
                        f"{self.path} was begun with {key} {before.get(key)}, not {self.said[key]}: "
                        "its bits will differ from those of an unbroken run"
                    )
            if begun:
                self.said = before
                return
        files.write_json(standing, self.said)

    def state(self) -> "State | None":
        """The last checkpoint. Raises ContractError where it is damaged."""
        from zoo_cli.training.loop import State

        pointer = self.path / "state" / "state.json"
        if not pointer.exists():
            return None
        said = files.read_json(pointer)
        if not isinstance(said, dict) or not said.keys() >= {"step", "file", "sha256", "log"}:
            raise ContractError(f"{pointer} points to no checkpoint", "--overwrite begins the run again")
        held = pointer.with_name(said["file"])
        if files.digest(held) != said["sha256"]:
            raise ContractError(f"the checkpoint {held} is damaged", "--overwrite begins the run again")
        tensors, _ = files.read_tensors(held)
        return State(said["step"], tensors, said["log"])

    def save(self, state: "State") -> None:
        """Write a checkpoint beside the last one, point to it, and remove the last one."""
        folder = self.path / "state"
        held = folder / f"step-{state.step:08}.safetensors"
        files.write_tensors(held, state.tensors)
        said = {"step": state.step, "file": held.name, "sha256": files.digest(held), "log": state.log}
        files.write_json(folder / "state.json", said)
        for old in folder.glob("step-*.safetensors"):
            if old != held:
                old.unlink()

    def log_from(self, step: int) -> None:
        """Forget the logged rows after a step: they are made again."""
        log = self.path / "metrics.jsonl"
        kept = [row for row in files.read_lines(log) if row["step"] <= step] if log.exists() else []
        files.write_lines(log, kept)

    def log(self, row: Mapping[str, Any]) -> None:
        """Add a row to the log."""
        files.append_lines(self.path / "metrics.jsonl", [row])

    def _clear(self) -> None:
        for name in FILES:
            (self.path / name).unlink(missing_ok=True)
        for part in PARTS:
            shutil.rmtree(self.path / part, ignore_errors=True)
        (self.path / "run.json").unlink()


def library_versions() -> dict[str, str]:
    """What the bits of a run depend on beside its inputs."""
    import torch
    import torchvision

    return {"zoo": __version__, "torch": torch.__version__, "torchvision": torchvision.__version__}


def _flat(said: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that matter, one level down, so that a difference is named by its own key.

    Where that key stands elsewhere too, as the option "teachers" beside the teachers themselves, both are named.
    """
    flat = {key: said.get(key) for key in ASKED}
    for key, value in list(flat.items()):
        if isinstance(value, dict):
            del flat[key]
            for name, held in value.items():
                flat[name if name not in flat else f"{key} {name}"] = held
    return flat
