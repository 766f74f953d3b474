"""A shell in a pseudo-terminal, typed into as a person does: what stands on its line after the keys."""

import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Sequence
from fcntl import ioctl
from pathlib import Path
from types import TracebackType

SHOW = "\x18d"
"""Control-X d: each shell's start-up file binds it to "write the line to $SHOWN"."""
CLEAR = "\x05\x15"
"""To the end of the line, then delete all before it."""
PATIENCE = 20.0


class Terminal:
    """An interactive shell; its start-up file must bind SHOW and move a finished file to $SHOWN."""

    def __init__(self, argv: Sequence[str], cwd: Path, environment: dict[str, str]):
        self.shown = cwd.parent / "shown"
        self.screen = b""
        self.child, self.handle = pty.fork()
        if self.child == 0:
            os.chdir(cwd)
            os.execvpe(argv[0], list(argv), {**environment, "SHOWN": str(self.shown)})
        ioctl(self.handle, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 4000, 0, 0))
        self.line("")

    def line(self, keys: str) -> str:
        """What the line holds after these keys on an empty one; spaces at its end count."""
        self.shown.unlink(missing_ok=True)
        os.write(self.handle, (CLEAR + keys + SHOW).encode())
        end = time.monotonic() + PATIENCE
        while not self.shown.exists():
            if time.monotonic() > end:
                raise TimeoutError(f"{keys!r}: {self.screen[-2000:]!r}")
            ready, _, _ = select.select([self.handle], [], [], 0.005)
            if ready:
                self.screen += os.read(self.handle, 65536)
        return self.shown.read_text()

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        os.kill(self.child, signal.SIGKILL)
        os.waitpid(self.child, 0)
        os.close(self.handle)
