"""Signals. A stage runs until one arrives; where work would be lost, it asks `pending()` and stops by itself."""

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
    """Let every signal of a batch system, and Ctrl-C, end the program in good order."""
    reset()
    for signum in SIGNALS:
        # nohup and background shells start programs with HUP or INT ignored: leave that as it is.
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, _handle)


@contextmanager
def deferred() -> Iterator[None]:
    """Inside, a first signal is only noted; the code asks `pending()`. A second one ends the program at once."""
    global _deferred
    _deferred = True
    try:
        yield
    finally:
        _deferred = False


def pending() -> int | None:
    """The signal that arrived, if any."""
    return _pending


def check() -> None:
    """Raise Interrupted if a signal has arrived: for places where nothing is lost."""
    if _pending is not None:
        raise Interrupted(_pending)


def reset() -> None:
    """Forget a signal that was acted on."""
    global _pending
    _pending = None


def _handle(signum: int, _frame: FrameType | None) -> None:
    global _pending
    if _pending is not None:
        # The first one is being obeyed. Who sends a second does not want to wait, and nothing half written is left.
        os._exit(128 + signum)
    _pending = signum
    if not _deferred:
        raise Interrupted(signum)
