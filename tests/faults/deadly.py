"""A kill before one step of a command that changes the disk, and the same command again, in workspaces made for each.

The steps are the calls of os.open, fsync, replace, link, rename, unlink and utime.
"""

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults.processes import start
from tests.faults.test_interruption import digests

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
