"""Signals, and the end of the program. One ends it where it stands, or in `deferred()` is left for the code to poll.

At its start, at its end and while a module is imported nothing has to be saved or tidied up, and an exception would be
printed, or swallowed by C code: there a signal ends the process at once. A thread that hangs does not keep the program
from ending.
"""

import atexit
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from zoo_cli.early_signals import end, leave, set_handlers
from zoo_cli.errors import Interrupted

IMPORTING = "<frozen importlib._bootstrap>"
"""The file of the frames that import a module."""
AGAIN_SECONDS = 0.01

END_SECONDS = 5.0
"""How long the end of the program waits for threads."""

_threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
_deferred = True
_pending: int | None = None


def install() -> None:
    """Let Ctrl-C and the signals of batch systems end the program cleanly: inside `raised()` by Interrupted."""
    global _deferred
    reset()
    _deferred = True
    set_handlers(_handle)
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _raise_again


@contextmanager
def raised() -> Iterator[None]:
    """The context in which a signal raises Interrupted; a second one ends the program at once."""
    global _deferred
    try:
        _deferred = False
        yield
    finally:
        _deferred = True


@contextmanager
def deferred() -> Iterator[None]:
    """A context in which the first signal is only recorded for `pending()`; a second one ends the program at once."""
    global _deferred
    before, _deferred = _deferred, True
    try:
        yield
    finally:
        _deferred = before


def pending() -> int | None:
    """The signal that has arrived, if any."""
    return _pending


def check() -> None:
    """Raise Interrupted if a signal has arrived; for places where no work is lost."""
    if _pending is not None:
        raise Interrupted(_pending)


def reset() -> None:
    """Forget the signal that has been handled."""
    global _pending
    _pending = None


def watch_thread(thread: threading.Thread) -> None:
    """Let the end of the program wait for a daemon thread: one that is cut off inside a library may crash."""
    _threads.add(thread)


def join_threads() -> bool:
    """Wait at most END_SECONDS for the threads that were named; whether all have ended."""
    deadline = time.monotonic() + END_SECONDS
    for thread in list(_threads):
        thread.join(max(0.0, deadline - time.monotonic()))
    return not any(thread.is_alive() for thread in _threads)


def leave_if_hanging(code: int) -> None:
    """End the program here with an exit code if a thread hangs; else return."""
    if not join_threads():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


atexit.register(join_threads)


def _handle(signum: int, frame: FrameType | None) -> None:
    global _pending
    if _pending is not None:
        # The first is being handled, but the user does not want to wait. Files are never half written.
        end(signum, frame)
    _pending = signum
    if not _deferred:
        _interrupt(signum, frame)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """Raise Interrupted, or leave if a module is being imported, which many modules do not survive."""
    inner = frame
    while inner is not None:
        if inner.f_code.co_filename == IMPORTING:
            leave(signum, frame)
        inner = inner.f_back
    raise Interrupted(signum)


def _raise_again(unraisable: Any) -> None:
    """Raise Interrupted a moment later where Python cannot: in a finaliser, or in a callback from C."""
    if isinstance(unraisable.exc_value, Interrupted):
        signal.signal(signal.SIGALRM, _interrupt_again)
        signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
    else:
        sys.__unraisablehook__(unraisable)


def _interrupt_again(_signum: int, frame: FrameType | None) -> None:
    if _pending is not None and not _deferred:
        _interrupt(_pending, frame)
