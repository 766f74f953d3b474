"""Where the arithmetic runs: what --device and --precision name, checked before any work."""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from zoo_cli import console
from zoo_cli.errors import UsageError

if TYPE_CHECKING:
    import torch


def choose(name: str, *, purpose: str) -> "torch.device":
    """The device that a flag names. Raises UsageError where it is not there: never another one in silence."""
    import torch

    if name == "auto":
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        told = (
            torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
        )
        console.say(f"{purpose} on {told}")
        return device
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f'no device "{name}"', "auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {name}: no such CUDA device here", "--device cpu, or auto to take what there is")
    return device


def workers(asked: int | None) -> int:
    """How many threads decode images: as asked, else one a core."""
    if asked is not None and asked < 0:
        raise UsageError(f"--workers {asked}", "0 or more")
    return (os.cpu_count() or 1) if asked is None else asked


def threads() -> int:
    """The CPU threads of arithmetic, on which the bits of a CPU's results depend."""
    import torch

    return torch.get_num_threads()


def autocast(device: "torch.device", precision: str) -> AbstractContextManager[object]:
    """The context in which bf16 arithmetic runs; none for fp32."""
    import torch

    check_precision(precision)
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()


def check_precision(precision: str) -> None:
    """Raise UsageError for a precision that is not fp32 or bf16."""
    if precision not in ("fp32", "bf16"):
        raise UsageError(f'no precision "{precision}"', "fp32 or bf16")
