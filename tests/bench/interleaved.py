"""Times of several forms of one computation, in turns within one process, so that the machine's noise hits them all.

With one thread on a CPU they are processor times, which are not affected by other programs.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch


def milliseconds(
    forms: dict[str, Callable[[], object]], device: torch.device, blocks: int, calls: int
) -> dict[str, list[float]]:
    """For each form, the milliseconds of one call in each block: the mean over `calls`."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    clock = _clock(device)
    times: dict[str, list[float]] = {name: [] for name in forms}
    for block in range(-1, blocks):  # the first one warms up
        for name, form in forms.items():
            wait()
            start = clock()
            for _ in range(calls):
                form()
            wait()
            if block >= 0:
                times[name].append((clock() - start) / calls * 1e3)
    return times


def ratio(above: list[float], below: list[float]) -> dict[str, float]:
    """Median, smallest and largest ratio of two forms' times, block by block."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return {
        "median": round(statistics.median(ratios), 3),
        "least": round(min(ratios), 3),
        "greatest": round(max(ratios), 3),
    }


def summary(times: dict[str, list[float]]) -> dict[str, float]:
    """The median milliseconds of each form."""
    return {name: round(statistics.median(values), 3) for name, values in times.items()}


def machine(device: torch.device) -> dict[str, Any]:
    """The device, threads, clock and torch version of a measurement."""
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    clock = _clock(device).__name__
    return {"device": named, "threads": torch.get_num_threads(), "clock": clock, "torch": torch.__version__}


def _clock(device: torch.device) -> Callable[[], float]:
    return time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return "CPU"
