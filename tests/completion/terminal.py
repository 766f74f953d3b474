"""A shell in a pseudo-terminal: the content of its line after keys are typed."""

import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Sequence
from fcntl import ioctl
from pathlib import Path

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
        self.handle, inside = pty.openpty()
        ioctl(self.handle, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 4000, 0, 0))
        # The leader of a new session is controlled by the terminal that it opens. Not pty.fork(), which a process with
        # threads must not call.
        opened = ["sh", "-c", 'exec "$@" <"$TTY" >"$TTY" 2>&1', "sh", *argv]
        variables = {**environment, "SHOWN": str(self.shown), "TTY": os.ttyname(inside)}
        self.child = subprocess.Popen(opened, cwd=cwd, env=variables, start_new_session=True)
        self._wait_for_start()
        os.close(inside)

    def line(self, keys: str) -> str:
        """The content of the line after these keys, starting from an empty one, with trailing spaces."""
        self.shown.unlink(missing_ok=True)
        os.write(self.handle, (CLEAR + keys + SHOW).encode())
        if not self._appears(PATIENCE):
            raise TimeoutError(f"{keys!r}: {self.screen[-2000:]!r}")
        return self.shown.read_text()

    def _wait_for_start(self) -> None:
        """Ask until there is an answer: some shells drop what is typed before they are ready."""
        self.shown.unlink(missing_ok=True)
        for _ in range(int(PATIENCE)):
            os.write(self.handle, SHOW.encode())
            if self._appears(1.0):
                self._appears(0.3, again=True)
                return
        raise TimeoutError(f"the shell does not start: {self.screen[-2000:]!r}")

    def _appears(self, seconds: float, *, again: bool = False) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.shown.exists() and not again:
                return True
            ready, _, _ = select.select([self.handle], [], [], 0.005)
            if ready:
                self.screen += os.read(self.handle, 65536)
        return self.shown.exists()

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.child.kill()
        self.child.wait()
        os.close(self.handle)
