"""zoo in a process of its own, for signals, kills and pipes.

One warm process, which has run the whole pipeline, forks for every run, so that tests do not wait for the imports of
torch. `python -m zoo_cli` itself is used where the start matters.
"""

import atexit
import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.workspaces import Result

ROOT = Path(__file__).resolve().parents[2]
SERVER = r"""
import json, os, pathlib, signal, sys, tempfile
import scipy.optimize, scipy.stats  # which scores and intervals import when they need them
os.environ["ZOO_WORKERS"] = "0"  # a thread of its own would not survive the fork
os.fsync = os.fstat  # a kill loses nothing that the system has
from tests.workspaces import make, run
with tempfile.TemporaryDirectory() as folder:
    place = make(pathlib.Path(folder) / "task", upto="pseudo-label")
    assert run("distill", "--steps", "2", "--batch-size", "8", workspace=place).code == 0
del os.environ["ZOO_WORKERS"]
from zoo_cli import __main__
from zoo_cli.training import loop
from zoo_cli.store import feature_store

print("ready", flush=True)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    call = json.loads(line)
    if os.fork():  # that process waits for the command, so that several can run at a time
        continue
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        for number, name in ((1, call["out"]), (2, call["err"])):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        exec(call["before"])
        try:
            code = __main__.main(call["arguments"])
        except BaseException:
            import traceback
            traceback.print_exc()
            code = 99
        sys.stdout.flush()
        os._exit(code)
    print(pid, flush=True)
    status = os.waitpid(pid, 0)[1]
    with open(call["code"] + ".part", "w") as stream:
        stream.write(str(os.waitstatus_to_exitcode(status)))
    os.replace(call["code"] + ".part", call["code"])
    os._exit(0)
"""
SMALL_PARTS = """
import time
from zoo_cli.store import feature_store
feature_store.PART_ROWS = 4
_write = feature_store.write_part
def slowly(*arguments):
    time.sleep({pause})
    _write(*arguments)
    time.sleep({pause})
feature_store.write_part = slowly
"""
"""Parts of four images, and a pause before and after each is written."""


@functools.cache
def _server() -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "TORCH_CPP_LOG_LEVEL": "ERROR"}
    # Without -W error: a thread of the test runner's environment must not decide whether this process can fork.
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
        start_new_session=True,
    )
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"

    def end() -> None:
        try:
            server.communicate(timeout=10)  # the end of its input; it removes its temporary files
        except subprocess.TimeoutExpired:
            server.kill()
            server.communicate()

    atexit.register(end)
    return server


@dataclass
class Process:
    """A running command: its process id, and the folder of its output."""

    pid: int
    place: Path

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return (self.place / "code").exists()

    def until(self, condition: Callable[[], object], seconds: float = 30) -> None:
        """Wait for a condition while it runs. Fails if it ends before, or after `seconds`."""
        end = time.monotonic() + seconds
        while not self._is_true(condition):
            assert not self.ended, f"it has ended: {self.result()}"
            if time.monotonic() > end:
                self.send(signal.SIGKILL)
                raise AssertionError("the condition does not become true")
            time.sleep(0.002)

    @staticmethod
    def _is_true(condition: Callable[[], object]) -> bool:
        try:
            return bool(condition())
        except FileNotFoundError:  # it has no output yet
            return False

    def send(self, signum: int) -> None:
        """Send it a signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signum)

    def result(self, seconds: float = 60) -> Result:
        """Wait for its end: the exit code (negative: killed by that signal), stdout and stderr."""
        end = time.monotonic() + seconds
        while not self.ended:
            if time.monotonic() > end:
                self.send(signal.SIGKILL)
                raise AssertionError(f"it does not end: {(self.place / 'err').read_text()}")
            time.sleep(0.002)
        code, out, err = ((self.place / name).read_text() for name in ("code", "out", "err"))
        return Result(int(code), out, err)


def start(*arguments: str, workspace: Path | None, before: str = "", place: Path) -> Process:
    """Start a command, followed by -C if there is a workspace.

    `before`: python that runs first; `place`: a new folder for its output.
    """
    place.mkdir(parents=True)
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    call = {
        "arguments": [*arguments, *([] if workspace is None else ["-C", str(workspace)])],
        "before": before,
        **{name: str(place / name) for name in ("out", "err", "code")},
    }
    server.stdin.write(json.dumps(call) + "\n")
    server.stdin.flush()
    return Process(int(server.stdout.readline()), place)


def zoo(
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    stdout: int = subprocess.PIPE,
    python: str | None = None,
) -> Result:
    """Run `python -m zoo_cli` with pipes as its streams, or another python program."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
    ended = subprocess.run(
        [sys.executable, *(["-c", python] if python else ["-m", "zoo_cli"]), *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        env={**inherited, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **(environment or {})},
    )
    return Result(ended.returncode, ended.stdout or "", ended.stderr)
