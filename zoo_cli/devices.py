"""Where the arithmetic runs: the values of --device, --precision and --workers, checked before any work."""

import os
import re
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, get_args

from zoo_cli import console
from zoo_cli.errors import UsageError

Precision = Literal["fp32", "bf16"]


def choose(name: str, *, purpose: str) -> Any:
    """The torch.device that a flag names. Raises UsageError if it is not there: there is no silent fallback."""
    import torch

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


def check_device_name(name: str) -> None:
    """Raise UsageError for what names no device anywhere, without a look at what is here."""
    if not re.fullmatch(r"auto|(cpu|cuda)(:(0|[1-9][0-9]?))?", name):
        raise UsageError(f'no device "{name}"', "auto, cpu, cuda or cuda:N")


def workers(requested: int | None) -> int:
    """The number of threads that decode images: as requested, else one a core. Raises UsageError below 0."""
    if requested is not None and requested < 0:
        raise UsageError(f"--workers {requested}", "expected 0 or more")
    return (os.cpu_count() or 1) if requested is None else requested


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
