"""An INT at any moment: exit 130 without a traceback, and the same command then ends as if nothing had been."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.processes import ROOT, start
from tests.faults.test_interruption import digests
from tests.workspaces import Result, make, run

TRAINING = ("--steps", "3", "--batch-size", "8", "--augment", "none", "--checkpoint-every", "1")
NOISE = ("Traceback", "Exception ignored", "KeyboardInterrupt", "Interrupted")
FIRST_LINES = """
import os, sys
from zoo_cli import early_signals, start
early_signals.leave_at_once()
os.write({ready}, b".")
sys.exit(start.main())
"""
"""What the console script does, and a sign that its first line has run: before, python itself answers a signal."""
READY = """
from zoo_cli import early_signals
early_signals.leave_at_once()
os.chdir({place!r})
open({path!r}, "w").close()
"""


@dataclass(frozen=True)
class Case:
    """A command, and the stage of the pipeline after which it runs."""

    words: tuple[str, ...]
    upto: str | None = None


CASES = {
    "help": Case(("--help",)),
    "init": Case(("init", "--train", "folder:images", "--labelled", "50%")),
    "split": Case(("split",)),
    "extract": Case(("extract",), "split"),
    "score": Case(("score", "--metric", "parc"), "extract"),
    "rank": Case(("rank",), "score"),
    "pseudo-label": Case(("pseudo-label",), "rank"),
    "distill": Case(("distill", *TRAINING, "--name", "mine"), "pseudo-label"),
    "evaluate": Case(("evaluate", "accuracy", "runs/mine"), "mine"),
    "show": Case(("show", "manifest.parquet"), "split"),
    "predict": Case(("predict", "runs/mine", "--data", "folder:images", "--out", "new.parquet"), "mine"),
}
LIGHT = ("help", "init", "split", "score", "rank", "show")
"""The commands that load no network."""


class Interrupts:
    """Runs of one command that are interrupted; `codes`: how often each exit code came."""

    def __init__(self, case: Case, folder: Path):
        self.folder = folder
        self.words = case.words
        self.codes: dict[int, int] = {}
        self.start = folder / "start"
        if case.upto == "mine":
            make(self.start, upto="pseudo-label")
            assert run(*CASES["distill"].words, workspace=self.start).code == 0
        else:
            make(self.start, upto=case.upto)
        if case.words[0] == "init":
            (self.start / "zoo.toml").unlink()
        place = self.copy()
        self.unbroken = self.finish(place), digests(place)

    def copy(self) -> Path:
        """A new copy of the workspace, always at the same path."""
        place = self.folder / "task"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.start, place)
        return place

    def finish(self, place: Path) -> Result:
        """The command once more, in this process."""
        before = Path.cwd()
        os.chdir(place)
        try:
            return run(*self.words, *self.workspace(place))
        finally:
            os.chdir(before)

    def workspace(self, place: Path) -> tuple[str, ...]:
        """The flag that names the workspace."""
        return () if self.words == ("--help",) else ("-C", str(place))

    def check(self, code: int, err: str, place: Path, moment: str) -> None:
        """Fail unless the process has ended well, and the same command then ends as if nothing had been."""
        self.codes[code] = self.codes.get(code, 0) + 1
        # Python gives signals back to the system as its last step; a shell reports such a death as 130, too.
        assert code in (0, 128 + signal.SIGINT, -signal.SIGINT), f"{moment}: {code}\n{err}"
        assert not [word for word in NOISE if word in err], f"{moment}: {code}\n{err}"
        again = self.finish(place)
        assert (again.code, digests(place)) == (self.unbroken[0].code, self.unbroken[1]), f"{moment}: {again}"

    def process(self, milliseconds: float | None) -> float:
        """Interrupt a process of its own so long after its first line, or let it end; how long it ran."""
        place = self.copy()
        ready, sign = os.pipe()
        code = FIRST_LINES.format(ready=sign)
        process = subprocess.Popen(
            [sys.executable, "-c", code, *self.words, *self.workspace(place)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=(sign,),
            cwd=place,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        os.close(sign)
        assert os.read(ready, 1) == b"."
        os.close(ready)
        begin = time.monotonic()
        if milliseconds is not None:
            time.sleep(milliseconds / 1000)
            process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
        elapsed = time.monotonic() - begin
        self.check(process.returncode, err, place, f"{' '.join(self.words)} after {milliseconds} ms")
        return elapsed

    def fork(self, milliseconds: float | None, number: int) -> float:
        """As `process`, in a process that has imported everything."""
        place, log = self.copy(), self.folder / f"log{number}"
        ready = self.folder / f"ready{number}"
        before = READY.format(place=str(place), path=str(ready))
        process = start(*self.words, workspace=place, before=before, place=log)
        while not ready.exists():
            time.sleep(0.0002)
        begin = time.monotonic()
        if milliseconds is not None:
            time.sleep(milliseconds / 1000)
            process.send(signal.SIGINT)
        result = process.result()
        elapsed = time.monotonic() - begin
        self.check(result.code, result.err, place, f"{' '.join(self.words)} after {milliseconds} ms")
        shutil.rmtree(log)
        return elapsed


def test_interrupts_of_light_commands_leave_no_traceback(tmp_path: Path) -> None:
    chance = random.Random(7)
    for name in ("help", "init", "split", "rank"):
        interrupts = Interrupts(CASES[name], tmp_path / name)
        for _ in range(2):
            interrupts.process(chance.uniform(0, 250))


def test_interrupts_of_heavy_commands_leave_no_traceback(tmp_path: Path) -> None:
    chance = random.Random(8)
    interrupts = Interrupts(CASES["extract"], tmp_path / "own")
    interrupts.process(chance.uniform(300, 600))
    for name in ("distill", "extract"):
        interrupts = Interrupts(CASES[name], tmp_path / name)
        for number in range(3):
            interrupts.fork(chance.uniform(0, 150), number)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_interrupt_at_every_moment_leaves_no_traceback(tmp_path: Path, name: str) -> None:
    interrupts = Interrupts(CASES[name], tmp_path)
    length = interrupts.process(None) * 1000
    moments = int(os.environ.get("ZOO_INTERRUPTS", "200"))
    for number in range(moments):
        interrupts.process(1.05 * length * number / moments)
    print(name, f"{length:.0f} ms", interrupts.codes)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if name not in LIGHT[:2]])
def test_interrupt_at_every_moment_of_work_leaves_no_traceback(tmp_path: Path, name: str) -> None:
    interrupts = Interrupts(CASES[name], tmp_path)
    length = interrupts.fork(None, -1) * 1000
    moments = int(os.environ.get("ZOO_INTERRUPTS", "200"))
    for number in range(moments):
        interrupts.fork(1.05 * length * number / moments, number)
    print(name, f"{length:.0f} ms", interrupts.codes)
