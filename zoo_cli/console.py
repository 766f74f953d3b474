"""The streams: answers go to stdout, messages and progress to stderr. The only module that prints."""

import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TextIO

from zoo_cli.errors import ZooError
from zoo_cli.text_escapes import printable

RED, YELLOW, RESET = "\x1b[1;31m", "\x1b[1;33m", "\x1b[0m"


class ClosedPipe(Exception):
    """The reader of stdout has gone, as in `zoo rank | head -1`. Not an error."""


@dataclass
class Console:
    """The output streams, which a test can replace, and the verbosity: -1 quiet, 0 normal, 1 verbose."""

    # A stream that the shell has closed (`>&-`) is None; what is written to it is dropped.
    out: TextIO = field(default_factory=lambda: sys.stdout or open(os.devnull, "w"))  # noqa: SIM115
    err: TextIO = field(default_factory=lambda: sys.stderr or open(os.devnull, "w"))  # noqa: SIM115
    verbosity: int = 0
    csv_safe: bool = False  # no cell of CSV and TSV is a formula of a spreadsheet
    bars: list[Any] = field(default_factory=list)  # on the terminal, where only the innermost is shown
    lock: threading.RLock = field(default_factory=threading.RLock)

    @contextmanager
    def without_bar(self) -> Iterator[None]:
        """Take the bar off the terminal while something else is printed."""
        with self.lock:
            for bar in self.bars[-1:]:
                bar.stop()
            try:
                yield
            finally:
                self.show_bar()

    def show_bar(self) -> None:
        """Show the innermost bar again, if there is one."""
        for bar in self.bars[-1:]:
            bar.start()

    def say(self, text: str) -> None:
        """Print a message, unless --quiet."""
        if self.verbosity >= 0:
            self._print(printable(text) + "\n")

    def detail(self, text: str) -> None:
        """Print a message with --verbose."""
        if self.verbosity > 0:
            self.say(text)

    def warn(self, text: str) -> None:
        """Print a warning, even with --quiet."""
        self._print(f"zoo: {self._colour('warning', YELLOW)}: {printable(text)}\n")

    def fail(self, text: str) -> None:
        """Print the one line of an error."""
        self._print(f"zoo: {self._colour('error', RED)}: {printable(text)}\n")

    def trace(self, error: BaseException) -> None:
        """Print the traceback of an exception."""
        lines = "".join(traceback.format_exception(error)).splitlines()
        self._print("".join(printable(line.expandtabs(4)) + "\n" for line in lines))

    def _colour(self, word: str, code: str) -> str:
        """A word in colour on a terminal, unless NO_COLOR asks for none (no-color.org)."""
        return f"{code}{word}{RESET}" if is_terminal(self.err) and not os.environ.get("NO_COLOR") else word

    def _print(self, text: str) -> None:
        # A stderr that is closed, by the shell or by a user's code, must not abort the run.
        with self.without_bar(), contextlib.suppress(OSError, ValueError):
            _put(self.err, text)

    def answer(self, text: str) -> None:
        """Print to stdout. Raises ClosedPipe if its reader has gone, ZooError if it cannot be written."""
        try:
            with self.without_bar():
                _put(self.out, text if text.endswith("\n") or not text else text + "\n")
        except BrokenPipeError:
            _silence(self.out)
            raise ClosedPipe from None
        except OSError as error:
            _silence(self.out)
            raise ZooError(f"cannot write to stdout: {error.strerror}", "files written so far are kept") from None


_console = Console()


def current() -> Console:
    """The console in use."""
    return _console


@contextmanager
def use(console: Console) -> Iterator[Console]:
    """Use another console, for a test or a stage that runs other stages."""
    global _console
    previous, _console = _console, console
    try:
        yield console
    finally:
        _console = previous


def say(text: str) -> None:
    """Print a message to stderr, unless --quiet."""
    _console.say(text)


def detail(text: str) -> None:
    """Print a message to stderr with --verbose."""
    _console.detail(text)


def warn(text: str) -> None:
    """Print a warning to stderr."""
    _console.warn(text)


def is_terminal(stream: TextIO) -> bool:
    """Whether a stream is a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _put(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:  # a character that the stream's encoding lacks
        stream.write(text.encode("ascii", "backslashreplace").decode())
    stream.flush()


def _silence(stream: TextIO) -> None:
    """Redirect a closed stream to nowhere: the flush of Python at its exit would fail a second time."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
