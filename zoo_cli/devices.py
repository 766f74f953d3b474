"""Where the arithmetic runs: the values of --device, --precision and --workers, checked before any work."""

import os
import re
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, get_args

from zoo_cli import console, ranks
from zoo_cli.errors import UsageError

Precision = Literal["fp32", "bf16"]


def choose(name: str, *, purpose: str) -> Any:
    """The torch.device that a flag names. Raises UsageError if it is not there: there is no silent fallback."""
    import torch

    name = _own_card(name)
    if name == "auto":
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        is_cuda = device.type == "cuda"
        where = torch.cuda.get_device_name(device) if is_cuda else f"CPU, {torch.get_num_threads()} threads"
        console.say(f"{purpose} on {where}")
        return device
    check_device_name(name)
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {name}: no such CUDA device here", "--device cpu, or auto to take what there is")
    return device


def _own_card(name: str) -> str:
    """The card of this process among several on its machine, for auto and cuda; any other name as it is.

    Raises UsageError for a single card of all processes, and where there are fewer cards than processes.
    """
    import torch

    processes = ranks.local_world_size()
    if processes == 1 or name.startswith("cpu") or (name == "auto" and not torch.cuda.is_available()):
        return name
    if name.startswith("cuda:"):
        raise UsageError(f"--device {name} is one card for {processes} processes", "--device cuda gives each its own")
    cards = torch.cuda.device_count()
    if cards < processes:
        raise UsageError(f"{processes} processes need {processes} CUDA devices, here are {cards}", "--device cpu")
    return f"cuda:{ranks.local_rank()}"


def check_device_name(name: str) -> None:
    """Raise UsageError for what names no device anywhere, without a look at what is here."""
    if not re.fullmatch(r"auto|(cpu|cuda)(:(0|[1-9][0-9]?))?", name):
        raise UsageError(f'no device "{name}"', "auto, cpu, cuda or cuda:N")


def workers(requested: int | None) -> int:
    """The number of threads that decode images: as requested, else one a core. Raises UsageError below 0."""
    if requested is not None and requested < 0:
        raise UsageError(f"--workers {requested}", "expected 0 or more")
    return max(1, (os.cpu_count() or 1) // ranks.local_world_size()) if requested is None else requested


def threads() -> int:
    """The number of CPU threads of torch, on which the bits of a CPU's results depend."""
    import torch

    return torch.get_num_threads()


def autocast(device: Any, precision: str) -> AbstractContextManager[object]:
    """The context in which a torch.device computes in bf16; an empty one for fp32."""
    import torch

    check_precision(precision)
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()


def check_precision(precision: str) -> None:
    """Raise UsageError for a precision that is not supported."""
    if precision not in get_args(Precision):
        raise UsageError(f'no precision "{precision}"', " or ".join(get_args(Precision)))
