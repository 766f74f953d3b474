"""The signals that end zoo, and how one ends it at once. The first module: it imports next to nothing."""

import os
import signal
from types import FrameType

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
)


def leave_at_once(*, silently: bool = False) -> None:
    """Let a signal end the process where it stands: before anything is done or, `silently`, after everything is."""
    set_handlers(end if silently else leave)


def leave(signum: int, frame: FrameType | None) -> None:
    """End the process with the line of the error for a signal."""
    if os.environ.get("RANK", "0") == "0":
        try:  # noqa: SIM105 - contextlib is not imported yet
            os.write(2, f"zoo: error: {describe(signum)}\n".encode())
        except OSError:
            pass
    end(signum, frame)


def end(signum: int, _frame: FrameType | None) -> None:
    """End the process with the exit code of a signal."""
    os._exit(128 + signum)


def describe(signum: int) -> str:
    """The line of the error for a signal."""
    return f"stopped by {signal.Signals(signum).name}; the same command goes on from here"


def set_handlers(handler) -> None:  # type: ignore[no-untyped-def]  # typing and collections.abc are not imported yet
    """Let a function handle the signals, but not those that the program was started with ignored."""
    for signum in SIGNALS:
        # nohup and background shells start programs with HUP or INT ignored; that must stay so.
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, handler)
