"""Signals. One ends the program where it stands, or inside `deferred()` is left for the code to poll."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from zoo_cli.errors import Interrupted

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
)

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


def _handle(signum: int, _frame: FrameType | None) -> None:
    global _pending
    if _pending is not None:
        # The first is being handled, but the user does not want to wait. Files are never half written.
        os._exit(128 + signum)
    _pending = signum
    if not _deferred:
        raise Interrupted(signum)
