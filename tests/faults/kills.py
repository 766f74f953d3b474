"""A kill before one step of a command: what is left on the disk, what readers say of it, how the command goes on."""

import json
import shutil
import signal
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.kill_scenarios import Command, Scenario
from tests.faults.processes import start
from tests.faults.test_interruption import digests
from tests.workspaces import Result, make
from zoo_cli.store.commits import BESIDE, is_leftover
from zoo_cli.store.replacement import READY

READERS: tuple[Command, ...] = (
    ("rank", "--json"),
    ("evaluate", "accuracy", "--json"),
    ("predict", "mine", "--data", "folder:images", "--json"),
    ("show", "manifest.parquet", "--json"),
)
REFUSED = (2, 3)


@dataclass
class Campaign:
    """The kills of one scenario in a folder: how many steps it has, and what was seen.

    `kills`: those so far; `states`: the different contents of the disk that they left, each of which `reads` were of.
    """

    scenario: Scenario
    folder: Path
    readers: tuple[Command, ...] = READERS
    kills: int = 0
    reads: int = 0
    states: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._number = 0
        self.prepared = make(self.folder / "prepared", upto=self.scenario.upto)
        for command in self.scenario.before:
            assert self._run(command, self.prepared).code == 0
        self.scenario.change_images(self.prepared)
        self.before = files_of(self.prepared)
        unbroken, log = self._copy("unbroken"), self.folder / "steps"
        result = self._run(self.scenario.command, unbroken, arm(unbroken, None, log))
        assert result.code == self.scenario.code, result.err
        self.after = files_of(unbroken)
        steps = [line.split("\t") for line in log.read_text(encoding="utf-8").splitlines()]
        self.steps = [kind for kind, _, _ in steps]
        self.contents = {(plain(path), digest) for _, path, digest in steps if digest} | set(self.before.items())
        self.appended = {plain(path) for kind, path, _ in steps if kind == "open"}
        self._check_that_all_is_counted({path for _, path, _ in steps})
        self.answers = {reader: self._answers(reader, unbroken) for reader in self.readers}

    def kill(self, step: int) -> None:
        """Kill the command before a step, read what is there, and run it again; faults are noted."""
        place = self._copy(f"step-{step}")
        killed = self._run(self.scenario.command, place, arm(place, step))
        if killed.code != -signal.SIGKILL:
            self._note(step, f"not killed: {killed.code} {killed.err}")
            return
        self.kills += 1
        left = {name: digest for name, digest in files_of(place).items() if not is_leftover(Path(name))}
        for name, digest in left.items():
            if (plain(name), digest) not in self.contents and plain(name) not in self.appended:
                self._note(step, f"{name} is neither the old file nor a new one")
        state = json.dumps(sorted(left.items()))
        if state not in self.states and self._workspace(place).exists():
            self.states.add(state)
            for reader in self.readers:
                self._read(step, reader, place)
        again = self._run(self.scenario.command, place)
        after = files_of(place)
        if again.code != self.scenario.code:
            self._note(step, f"the same command ends with {again.code}: {again.err}")
        elif after != self.after:
            names = sorted(name for name in {*after, *self.after} if after.get(name) != self.after.get(name))
            self._note(step, f"other bytes: {names}")
        shutil.rmtree(place)

    def _read(self, step: int, reader: Command, killed: Path) -> None:
        self.reads += 1
        place = self.folder / f"read-{step}"
        shutil.copytree(killed, place)
        result = self._run(reader, self._workspace(place))
        if result.code == 0:
            answer = rows(result, place)
            if not is_among(answer, self.answers[reader], by_row=reader[0] == "evaluate"):
                self._note(step, f"{' '.join(reader)} has another answer: {answer}")
        elif result.code not in REFUSED:
            self._note(step, f"{' '.join(reader)} ends with {result.code}: {result.err}")
        shutil.rmtree(place)

    def _answers(self, reader: Command, unbroken: Path) -> list[Any]:
        """What a reader says before the command and after it, unless it refuses."""
        answers = []
        for number, place in enumerate((self.prepared, unbroken)):
            copy = self.folder / f"answers-{number}"
            shutil.copytree(place, copy)
            result = self._run(reader, self._workspace(copy))
            if result.code == 0:
                answers.append(rows(result, copy))
            shutil.rmtree(copy)
        return answers

    def _check_that_all_is_counted(self, seen: set[str]) -> None:
        """Every file that the command changed was seen when it was opened or came into its place."""
        changed = {name for name, digest in self.after.items() if self.before.get(name) != digest}
        folders = {f"{name}/" for name in seen}
        unseen = [name for name in changed - seen if not name.startswith(tuple(folders))]
        assert not unseen, unseen

    def _run(self, command: Command, place: Path, before: str = "") -> Result:
        self._number += 1
        workspace = None if self.scenario.makes_workspace and command == self.scenario.command else place
        log = self.folder / "logs" / str(self._number)
        # A kill loses nothing that the system has, so that nothing needs to reach the disk.
        first = f"os.fsync = lambda handle: None\nos.chdir({str(place)!r})\n{self.scenario.first}{before}"
        result = start(*command, workspace=workspace, before=first, place=log).result()
        shutil.rmtree(log)
        return result

    def _workspace(self, place: Path) -> Path:
        return place / "demo" if self.scenario.makes_workspace else place

    def _copy(self, name: str) -> Path:
        place = self.folder / name
        shutil.copytree(self.prepared, place)
        return place

    def _note(self, step: int, fault: str) -> None:
        self.faults.append(f"killed before step {step} ({self.steps[step]}): {fault}")


def arm(place: Path, deadly: int | None, log: Path | None = None) -> str:
    """Python that counts the steps below a folder, and kills its process before one of them."""
    arguments = f"{str(place)!r}, {deadly}, {None if log is None else str(log)!r}"
    return f"from tests.faults import kill_steps; kill_steps.arm({arguments})"


def files_of(place: Path) -> dict[str, str]:
    """The digest of every file, hidden ones too; but not of logs, which hold times, nor of compiled modules."""
    return {name: digest for name, digest in digests(place).items() if "__pycache__" not in name}


def plain(name: str) -> str:
    """The name that a file has in its place, if it is of a run or a result that is made beside the one it replaces."""
    return "/".join(map(_place_of, Path(name).parts))


def _place_of(part: str) -> str:
    """`.mine.new` is `mine`, `.alpha.ready` is `alpha`, and so is `.alpha.IDENTITY.WHERE.PID.NUMBER.beside`."""
    if part.startswith(".") and part.endswith(BESIDE):
        return part[1:].removesuffix(BESIDE).rsplit(".", 4)[0]
    ending = next((ending for ending in (".new", READY) if part.startswith(".") and part.endswith(ending)), None)
    return part if ending is None else part[1:].removesuffix(ending)


def rows(result: Result, place: Path) -> Any:
    """The data of an answer, in which the place has no name."""
    return json.loads(result.out.replace(str(place), "."))["data"]


def is_among(answer: Any, answers: Iterable[Any], *, by_row: bool) -> bool:
    """Whether an answer is one of several, or with `by_row` all its rows are in them."""
    if answer in answers:
        return True
    return by_row and all(any(row in other for other in answers) for row in answer)
