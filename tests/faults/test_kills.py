"""A kill at every step that changes the disk: the same command goes on, and ends with the bytes of an unbroken one.

The steps are the calls of os.open, fsync, replace, link, rename and unlink of a command. A sample of them is tested by
default, all of them with -m slow.
"""

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.processes import start
from tests.faults.test_interruption import digests
from zoo_cli.store import commits

Make = Callable[..., Path]
DEADLY = """
import os, signal, threading
_left = [{calls}]
def _make(_real):
    def _deadly(*arguments, **options):
        _left[0] -= 1
        if _left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return _real(*arguments, **options)
    return _deadly
for _name in ("open", "fsync", "replace", "link", "rename", "unlink", "utime"):
    setattr(os, _name, _make(getattr(os, _name)))
"""


def kill_at(step: int, *command: str, workspace: Path, place: Path, before: str = "") -> bool:
    """Kill a command before one of its steps; whether it had that many. `before`: python that runs first."""
    result = start(*command, workspace=workspace, before=before + DEADLY.format(calls=step), place=place).result()
    assert result.code in (-signal.SIGKILL, 0, 4), result.err
    return result.code == -signal.SIGKILL


def finish(*command: str, workspace: Path, place: Path, code: int = 0, before: str = "") -> dict[str, str]:
    """The files of a workspace after the command."""
    result = start(*command, workspace=workspace, before=before, place=place).result()
    assert result.code == code, result.err
    return {name: value for name, value in digests(workspace).items() if "__pycache__" not in name}


def each_step(
    make: Callable[[str], Path],
    *command: str,
    tmp_path: Path,
    steps: Iterator[int] | range,
    code: int = 0,
    before: str = "",
    check: Callable[[Path], None] | None = None,
) -> int:
    """Kill the command at each of these steps in a workspace of its own; the number of kills.

    `before`: python that runs first; `check`: what must hold for a workspace after a kill.
    """
    finish_log = tmp_path / "log-unbroken"
    expected = finish(*command, workspace=make("unbroken"), place=finish_log, code=code, before=before)
    kills = 0
    for step in steps:
        place = make(f"step-{step}")
        if not kill_at(step, *command, workspace=place, place=tmp_path / f"log-{step}", before=before):
            break
        kills += 1
        if check is not None:
            check(place)
        after = finish(*command, workspace=place, place=tmp_path / f"again-{step}", code=code, before=before)
        assert after == expected, f"killed at step {step}"
        shutil.rmtree(place)
    return kills


def split_again(workspace: Make, upto: str = "split") -> Callable[[str], Path]:
    """A workspace whose images are others by now: one class has another name, and an image is broken."""

    def make(_name: str) -> Path:
        place = workspace(upto=upto)
        (place / "images/blue").rename(place / "images/violet")
        (place / "images/red/03.png").write_bytes(b"no image")
        return place

    return make


SPLIT = ("split", "--overwrite")


@pytest.mark.parametrize("step", [0, 4, 8, 11, 13])
def test_split_goes_on_after_a_kill(workspace: Make, tmp_path: Path, step: int) -> None:
    assert each_step(split_again(workspace), *SPLIT, tmp_path=tmp_path, steps=range(step, step + 1), code=4)


@pytest.mark.slow
def test_split_goes_on_after_a_kill_at_every_step(workspace: Make, tmp_path: Path) -> None:
    assert each_step(split_again(workspace), *SPLIT, tmp_path=tmp_path, steps=range(1000), code=4) > 10
    fresh = each_step(lambda _: workspace(), "split", tmp_path=tmp_path / "fresh", steps=range(1000))
    assert fresh > 5


def test_class_names_of_another_split_are_refused(workspace: Make, tmp_path: Path) -> None:
    place = split_again(workspace, "extract")("task")
    for step in range(20):  # up to the first kill at which the class names are new and the manifest is not
        before = (place / "manifest.parquet").read_bytes()
        assert kill_at(step, *SPLIT, workspace=place, place=tmp_path / str(step))
        if "violet" in (place / "classes.json").read_text():
            break
    assert (place / "manifest.parquet").read_bytes() == before
    refused = start("pseudo-label", "--head", "ridge", workspace=place, place=tmp_path / "refused").result()
    assert refused.code == 3
    assert "classes.json is not the file that was written with" in refused.error
    assert "zoo split --overwrite" in refused.error


DISTILL = ("distill", "--steps", "6", "--batch-size", "8", "--augment", "flip", "--checkpoint-every", "3")
RUN = (*DISTILL, "--name", "mine")
SWEEP = ("finetune", "alpha", "--lr", "0.1,0.01", *DISTILL[1:], "--name", "mine")


def before_a_run(workspace: Make, *command: str, tmp_path: Path) -> Callable[[str], Path]:
    """A workspace with a run of the same name, made with other options."""

    def make(name: str) -> Path:
        place = workspace(upto="pseudo-label")
        finish(*command, "--steps", "2", "--lr", "0.3", workspace=place, place=tmp_path / f"before-{name}")
        return place

    return make


@pytest.mark.parametrize("step", [0, 4, 9, 30, 48, 67])
def test_a_run_goes_on_after_a_kill(workspace: Make, tmp_path: Path, step: int) -> None:
    def make(_name: str) -> Path:
        return workspace(upto="pseudo-label")

    assert each_step(make, *RUN, tmp_path=tmp_path, steps=range(step, step + 1))


@pytest.mark.parametrize("step", [12, 80, 86, 92, 97, 103])
def test_overwriting_a_run_goes_on_after_a_kill(workspace: Make, tmp_path: Path, step: int) -> None:
    make = before_a_run(workspace, *RUN, tmp_path=tmp_path)
    assert each_step(make, *RUN, "--overwrite", tmp_path=tmp_path, steps=range(step, step + 1))


@pytest.mark.slow
@pytest.mark.parametrize("command", [RUN, SWEEP], ids=["distill", "sweep"])
def test_every_step_of_a_run_can_be_killed(workspace: Make, tmp_path: Path, command: tuple[str, ...]) -> None:
    def make(_name: str) -> Path:
        return workspace(upto="pseudo-label")

    assert each_step(make, *command, tmp_path=tmp_path, steps=range(1000)) > 50


@pytest.mark.slow
@pytest.mark.parametrize("command", [RUN, SWEEP], ids=["distill", "sweep"])
def test_every_step_of_overwriting_can_be_killed(workspace: Make, tmp_path: Path, command: tuple[str, ...]) -> None:
    make = before_a_run(workspace, *RUN, tmp_path=tmp_path)
    assert each_step(make, *command, "--overwrite", tmp_path=tmp_path, steps=range(1000)) > 50


def test_leftovers_are_not_the_users_files() -> None:
    names = {".DS_Store": True, ".nfs0001": True, ".lease-1": True, ".x.12ab.3-4.5e.tmp": True, "notes": False}
    assert {name: commits.is_leftover(Path("runs/mine") / name) for name in names} == names
