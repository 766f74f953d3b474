"""Signals, and the end of the program.

A signal ends the program where it stands, or inside `deferred()` is left for the code to poll. A thread that hangs does
not keep the program from ending.
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

from zoo_cli.errors import Interrupted

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
)

END_SECONDS = 5.0
"""How long the end of the program waits for threads."""

_threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
_deferred = False
_pending: int | None = None


def install() -> None:
    """Let Ctrl-C and the signals of batch systems end the program cleanly."""
    reset()
    for signum in SIGNALS:
        # nohup and background shells start programs with HUP or INT ignored; that must stay so.
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, _handle)


@contextmanager
def deferred() -> Iterator[None]:
    """A context in which the first signal is only recorded for `pending()`; a second one ends the program at once."""
    global _deferred
    _deferred = True
    try:
        yield
    finally:
        _deferred = False


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
    end = time.monotonic() + END_SECONDS
    for thread in list(_threads):
        thread.join(max(0.0, end - time.monotonic()))
    return not any(thread.is_alive() for thread in _threads)


def leave(code: int) -> None:
    """End the program here with an exit code if a thread hangs; else return."""
    if not join_threads():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


atexit.register(join_threads)


def _handle(signum: int, _frame: FrameType | None) -> None:
    global _pending
    if _pending is not None:
        # The first is being handled, but the user does not want to wait. Files are never half written.
        os._exit(128 + signum)
    _pending = signum
    if not _deferred:
        raise Interrupted(signum)
