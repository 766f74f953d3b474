"""stdout is the answer: what other code prints there, also a C library or a process that it starts, goes to stderr."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO

from zoo_cli import console
from zoo_cli.text_escapes import printable

STREAMS = (0, 1, 2)

_answers: TextIO | None = None
_theirs: TextIO | None = None
"""`sys.stdout` once `separate` has taken it from other code, and what that code gets in its place."""


def separate() -> None:
    """Keep stdout for the answers, for the rest of the process: file descriptor 1 becomes a second stderr.

    Answers, help and versions go to a private copy of it, which no child process inherits. Not for a process of which
    zoo is a guest, such as a notebook or a test.
    """
    global _answers, _theirs
    closed = _open_closed_streams()
    if sys.stderr is None:  # typer would print its errors to stdout
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if 1 in closed or sys.stdout is None:
        os.dup2(2, 1)
        return
    sys.stdout.flush()
    _answers = open(  # noqa: SIM115 - it is sys.stdout from now on
        os.dup(1),
        "w",
        encoding=sys.stdout.encoding,
        errors=sys.stdout.errors,
        buffering=1 if sys.stdout.isatty() else -1,
    )
    os.dup2(2, 1)
    # Lines in their order among those of stderr.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)
    _theirs, sys.stdout = sys.stdout, _answers
    console.current().out = _answers


@contextlib.contextmanager
def reserved() -> Iterator[None]:
    """A context in which only the console writes to stdout: `print` goes to stderr."""
    # Not `_theirs` where stdout has been replaced: by a test, or in a process of a job that does not speak.
    target = _theirs if _theirs is not None and sys.stdout is _answers else console.current().err
    err = sys.stderr.stream if isinstance(sys.stderr, _Escaped) else sys.stderr
    with contextlib.redirect_stdout(target), contextlib.redirect_stderr(err):
        yield


@contextlib.contextmanager
def escaped_usage_errors() -> Iterator[None]:
    """A context, but for `reserved` within it, in which names among the flags are printed as text on stderr."""
    if sys.stderr is None:
        yield
        return
    with contextlib.redirect_stderr(_Escaped(sys.stderr)):
        yield


def hand_over() -> None:
    """Let what other code prints when the process exits go to stderr, too, after the last answer."""
    if _theirs is not None:
        sys.stdout = _theirs


class _Escaped(io.TextIOBase):
    """A stream that escapes what would not show as text in another."""

    def __init__(self, stream: TextIO):
        self.stream = stream

    def write(self, text: str) -> int:
        return self.stream.write("\n".join(map(printable, text.split("\n"))))

    def flush(self) -> None:
        self.stream.flush()

    def isatty(self) -> bool:
        return self.stream.isatty()


def _open_closed_streams() -> set[int]:
    """Open /dev/null in the place of closed streams, whose numbers files would get; the numbers."""
    closed = set()
    for number in STREAMS:
        try:
            os.fstat(number)
        except OSError:
            closed.add(number)
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, number)
            if nowhere != number:
                os.close(nowhere)
    return closed
