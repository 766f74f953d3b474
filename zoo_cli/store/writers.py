"""Which process writes: its identity in the names of temporary files and in leases, and whether another one is gone."""

import hashlib
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

PROC = Path("/proc")


@dataclass(frozen=True)
class Writer:
    """A process: its host and boot, its pid namespace, its pid there, and when it started.

    Containers may share a host name and repeat pids, and a pid is used again: only together do they name one process.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: str

    @classmethod
    def current(cls) -> Self:
        """This process."""
        pid = os.getpid()  # not cached: a fork is another process
        return cls(socket.gethostname(), _boot(), _namespace(), pid, _read_stat(pid)[1])

    @cached_property
    def place(self) -> str:
        """A digest of where its pid has a meaning: 10 hexadecimal digits."""
        return hashlib.sha256("\n".join((self.host, self.boot, self.namespace)).encode()).hexdigest()[:10]

    @property
    def token(self) -> str:
        """Its name in file names: `PLACE.PID-STARTED`."""
        return f"{self.place}.{self.pid}-{self.started}"

    def is_provably_gone(self) -> bool:
        """Whether it has certainly ended, which only a process of the same place can know."""
        return self.place == Writer.current().place and is_gone(self.pid, self.started)


def is_gone(pid: int, started: str) -> bool:
    """Whether a process of this place has ended, or its pid belongs to another one by now."""
    if not PROC.joinpath("self/stat").exists():
        with suppress(PermissionError):
            try:
                os.kill(pid, 0)
            except (ProcessLookupError, OverflowError):
                return True
        return False
    state, begin = _read_stat(pid)
    return state in ("", "Z", "X") or begin != started


def _boot() -> str:
    with suppress(OSError):
        return PROC.joinpath("sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


def _namespace() -> str:
    with suppress(OSError):
        return os.readlink(PROC / "self/ns/pid")
    return ""


def _read_stat(pid: int) -> tuple[str, str]:
    """The state of a process and the tick in which it started; empty where there is none."""
    try:
        # The name of the program, in parentheses, may hold blanks and parentheses.
        fields = (
            PROC.joinpath(str(pid), "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
        return fields[0], fields[19]
    except (OSError, IndexError):
        return "", ""
