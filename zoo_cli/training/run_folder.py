"""The folder of a run: its inputs, its log, its checkpoints, and the trained student."""

import importlib.metadata
import importlib.util
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from zoo_cli import __version__, console, ranks
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.store import commits, files, lease, provenance, swap
from zoo_cli.store.checksums import PREDICTIONS, RECORD, RUN_FILES, SUMS, is_finished, write_sums
from zoo_cli.store.lease import Lease
from zoo_cli.store.swap import PARTS, run_place
from zoo_cli.training import checkpoint_record
from zoo_cli.training.checkpoints import State
from zoo_cli.training.run_record import IDENTITY_KEYS, read_record

STARTED = (
    "state/state.json",
    *(f"{part}/*/{file}" for part in PARTS[1:] for file in ("state/state.json", PREDICTIONS)),
)
"""Files of which at least one exists once training has begun."""


@dataclass
class RunFolder:
    """The folder in which a run is made. `record`: its run.json as requested; after `open`, that of the existing run.

    With --overwrite that is a folder beside its place, see `run_paths.RunPath`: the run replaces the one there when it
    is finished. `finished`: whether the student is there, known after `open`. `lease`: that under which this process
    writes it, also from the thread that writes checkpoints on a GPU.
    """

    path: Path
    record: dict[str, Any]
    finished: bool = False
    checkpoints: set[str] = field(default_factory=set)
    lease: Lease | None = None

    @property
    def place(self) -> Path:
        """The folder of the finished run."""
        return run_place(self.path)

    @property
    def identity(self) -> str:
        """A digest of all that the student depends on, apart from the machine."""
        return provenance.fingerprint(_flatten(self.record))

    def check(self) -> None:
        """Raise UsageError if the folder holds another run, or if another process is making one. Nothing is written."""
        self._check_place()
        lease.check_free(self.place, self.identity)
        file = self.path / RECORD
        if self.path == self.place and file.exists() and self._is_started():
            self._read_same(file)

    @contextmanager
    def opened(self, wait: float | None) -> Iterator[None]:
        """The context in which this process alone writes the folder, made, or checked to hold this run.

        Another process that makes the same run is waited for, `wait` seconds at most. In a job of several processes
        rank 0 does all that, and the others read what it has opened. Raises UsageError, naming what differs.
        """
        taken: list[Lease] = []
        try:
            self.finished = ranks.first_does(lambda: self._open(wait, taken))
            if not ranks.is_first():
                self.record = self._read_same((self.place if self.finished else self.path) / RECORD)
            yield
        finally:
            for each in taken:
                each.release()

    def _open(self, wait: float | None, taken: list[Lease]) -> bool:
        """Take the lease, added to `taken`, and make or check the folder; whether the run is finished."""
        self._check_place()
        settled = self.path == self.place and is_finished(self.path) and not lease.has_lease(self.place)
        if not settled and lease.held_for(self.path) is None:
            taken.append(lease.take(self.place, self.identity, wait))
            for folder in (self.place.parent, *commits.folders_below(self.place), *commits.folders_below(self.path)):
                commits.remove_leftovers(folder)
        self.lease = lease.held_for(self.path)
        was_interrupted = swap.finish_swap(self.place)
        if self.path != self.place:
            if was_interrupted and not self._differences(self.place / RECORD):
                self.record = read_record(self.place / RECORD)
                return True
            self._discard_other_run()
        file = self.path / RECORD
        if file.exists() and not self._is_started():
            if read_record(file) != self.record:
                # Nothing is trained yet, e.g. after a wrong flag: starting again loses nothing.
                swap.clear(self.path)
        elif file.exists():
            existing = self._read_same(file)
            if is_finished(self.path):
                self.record = existing
                if self.path != self.place:
                    swap.replace_run(self.path, self.place)
                return True
            self._warn_of_another_machine(existing)
            self.record = self._continue_record(existing)
            files.write_sealed_json(file, self.record)  # its digest is that of an unbroken run, whatever blanks it has
            return False
        files.write_sealed_json(file, self.record)
        return False

    def _continue_record(self, existing: Mapping[str, Any]) -> dict[str, Any]:
        """The record of a run that goes on: that of its start, but with what this command asks for, in its words."""
        record = dict(existing)
        if "asked" in self.record:
            record["asked"] = self.record["asked"]
        order = [*(key for key in self.record if key in record), *(key for key in existing if key not in self.record)]
        return {key: record[key] for key in order}

    def _check_place(self) -> None:
        place = self.place
        if place.exists() and not place.is_dir():
            raise UsageError(f"{place} is a file, not a folder", "choose another folder")
        if not place.exists():
            return
        is_run = (place / RECORD).exists() or (self.path != place and (place / SUMS).exists())
        if not is_run and not all(map(commits.is_leftover, place.iterdir())):
            raise UsageError(f"{place} is not a run folder and not empty", "choose another folder, or remove it")
        if self.path != place and place.stat().st_dev != place.parent.stat().st_dev:
            raise UsageError(
                f"{place} is a file system of its own: no run can be made beside it to replace it",
                "choose a folder inside it",
            )

    def _is_started(self) -> bool:
        return is_finished(self.path) or any(path for pattern in STARTED for path in self.path.glob(pattern))

    def _read_same(self, file: Path) -> dict[str, Any]:
        """An existing run.json. Raises UsageError, naming what differs, if it is of another run."""
        if changed := self._differences(file):
            raise provenance.stale_error(str(file.parent), changed)
        return read_record(file)

    def _differences(self, file: Path) -> list[str]:
        return provenance.differences(_flatten(read_record(file)), _flatten(self.record))

    def _discard_other_run(self) -> None:
        """Clear the folder beside the place if its run is another one, or damaged: that was to be overwritten too."""
        if not self.path.exists():
            return
        try:
            if (self.path / RECORD).exists():
                self._read_same(self.path / RECORD)
                self.state()
        except (UsageError, ContractError) as error:
            console.detail(f"{self.path} is made again: {error.message}")
            swap.clear(self.path)

    def add_to_record(self, key: str, value: str | dict[str, int]) -> None:
        """Add to run.json what was decided while training. Only rank 0 of a job writes it."""
        self.record[key] = value
        if ranks.is_first():
            files.write_sealed_json(self.path / RECORD, self.record)

    def seal(self) -> None:
        """Mark the run as finished by the digests of its files, and bring it into its place."""
        self.confirm()
        own = [path for name in (RECORD, *RUN_FILES) if (path := self.path / name).exists()]
        own += [path for part in PARTS for path in (self.path / part).rglob("*") if path.is_file()]
        # A NAME.log.json holds times: the same run has the same digests.
        own = [path for path in own if not commits.is_leftover(path) and not path.name.endswith(".log.json")]
        write_sums(self.path, [path.relative_to(self.path).as_posix() for path in own])
        if self.path != self.place:
            swap.replace_run(self.path, self.place)
        self.finished = True

    def confirm(self) -> None:
        """Raise LeaseLost if another process has taken the run over."""
        if self.lease is not None:
            self.lease.confirm()

    def state(self) -> State | None:
        """The last checkpoint. Raises ContractError if it, or the log up to it, is damaged."""
        checkpoint = checkpoint_record.load_checkpoint(self.path, self.record)
        if checkpoint is None:
            return None
        file = self.path / "state" / checkpoint.file
        tensors, _ = files.read_tensors(file)
        # A kill may have come before the one before it was removed.
        self._remove_other_checkpoints(file.name)
        return State(checkpoint.step, tensors, asdict(checkpoint.log))

    def save(self, state: State) -> None:
        """Write a checkpoint, point state.json to it, and remove those before. Only rank 0 of a job does."""
        if not ranks.is_first():
            return
        self.confirm()
        folder = self.path / "state"
        file = folder / f"step-{state.step:08}.safetensors"
        files.write_tensors(file, state.tensors)
        entry = {
            "step": state.step,
            "file": file.name,
            "sha256": files.digest(file),
            "log": state.log,
            "rows": provenance.fingerprint(checkpoint_record.load_rows(self.path, state.step)),
        }
        files.write_json(folder / "state.json", {**entry, "digest": provenance.fingerprint(entry)})
        self._remove_other_checkpoints(file.name)

    def _remove_other_checkpoints(self, current: str) -> None:
        """Remove all but the current checkpoint; one of a process that may still be running is left to it."""
        if not ranks.is_first():
            return
        sole = self.lease is None or self.lease.sole
        for path in (self.path / "state").glob("step-*.safetensors"):
            if path.name != current and (sole or path.name in self.checkpoints):
                path.unlink(missing_ok=True)
        self.checkpoints = {current}

    def truncate_log(self, step: int) -> None:
        """Drop the logged rows after a step, which will be logged again. Only rank 0 of a job does."""
        if not ranks.is_first():
            return
        files.write_lines(self.path / "metrics.jsonl", checkpoint_record.load_rows(self.path, step))

    def log(self, row: Mapping[str, Any]) -> None:
        """Append a row to the log. Only rank 0 of a job does."""
        if ranks.is_first():
            lease.beat_all()
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
                f"{self.place} was started with {'; '.join(changes)}: "
                "its bits will differ from those of an uninterrupted run"
            )


def library_versions() -> dict[str, str]:
    """The versions on which the bits of a run depend."""
    return {"zoo": __version__, "torch": torch.__version__, "torchvision": _torchvision_version()}


def _torchvision_version() -> str:
    """torchvision.__version__ without importing it, which takes a second; "none" if it is not installed."""
    spec = importlib.util.find_spec("torchvision")
    # Its build tag is not in the metadata of the package.
    file = None if spec is None or spec.origin is None else Path(spec.origin).with_name("version.py")
    text = file.read_text(encoding="utf-8") if file is not None and file.is_file() else ""
    version = re.search(r"^__version__ = ['\"](.+)['\"]", text, re.MULTILINE)
    try:
        return version[1] if version else importlib.metadata.version("torchvision")
    except importlib.metadata.PackageNotFoundError:
        return "none"


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
