"""The environment of every test."""

import functools
import os
import signal

import pytest

# One thread per worker: as many workers as cores run side by side, and equal threads give equal bits. This comes before
# any import of numpy or torch, which read it once.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A test run under nohup, or in the background of a shell, starts with these ignored, which zoo rightly leaves alone.
for _ignored, _usual in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(_ignored) is signal.SIG_IGN:
        signal.signal(_ignored, _usual)


_FSYNC = os.fsync


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Wait for no disk, and skip what needs a card where no card computes, with the reason, and what it would check.

    No test cuts the power: what the system has been given, the next process reads. Each wait takes as long as a small
    table takes to write. Processes of their own and benchmarks do wait.
    """
    os.fsync = _FSYNC if item.get_closest_marker("bench") else os.fstat
    marker = item.get_closest_marker("gpu")
    reason = None if marker is None else _why_no_card_computes()
    if marker is not None and reason is not None:
        checks = marker.kwargs.get("checks")
        pytest.skip(f"needs a CUDA device: {reason}" + (f"; it would check that {checks}" if checks else ""))


@functools.cache
def _why_no_card_computes() -> str | None:
    """Why one operation on a CUDA device fails; None if it does not. A card can be counted and still be unusable."""
    import torch

    if not torch.cuda.is_available():
        return "none is here"
    try:
        torch.ones(1, device="cuda").add_(1).item()
    except (RuntimeError, AssertionError) as error:
        return str(error).splitlines()[0]
    return None
