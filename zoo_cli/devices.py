"""Where the arithmetic runs: the values of --device, --precision and --workers, checked before any work."""

import os
import re
import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, get_args

from zoo_cli import console, device_errors
from zoo_cli.errors import UsageError, ZooError

Precision = Literal["fp32", "bf16"]


def choose(name: str, *, purpose: str) -> Any:
    """The torch.device that a flag names, after one operation has run on it.

    "auto" takes a GPU that works, else the CPU, with a warning if there is a GPU. Raises UsageError for a device that
    is not there or cannot be used, ZooError for a GPU without free memory.
    """
    import torch

    check_device_name(name)
    if name == "auto":
        return _choose_automatically(purpose)
    device = torch.device(name)
    if device.type == "cuda":
        _check_gpu(device)
    return device


def check_device_name(name: str) -> None:
    """Raise UsageError for what names no device anywhere, without a look at what is here."""
    if re.fullmatch(r"mps(:[0-9]+)?", name):
        raise UsageError(f"--device {name}: zoo computes in float64, which MPS lacks", "use --device cpu")
    if not re.fullmatch(r"auto|(cpu|cuda)(:(0|[1-9][0-9]?))?", name):
        raise UsageError(f'no device "{name}"', "auto, cpu, cuda or cuda:N")


def describe_device(device: Any) -> dict[str, Any]:
    """A torch.device for a record of what the bits of a result depend on.

    `device` is its kind; of a GPU there is also `card`: its name, and the versions of CUDA and cuDNN.
    """
    import torch

    if device.type != "cuda":
        return {"device": device.type}
    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return {"device": device.type, "card": {"name": _card_name(device), "cuda": torch.version.cuda, "cudnn": cudnn}}


def _choose_automatically(purpose: str) -> Any:
    import torch

    count, problem = _count_gpus()
    gpu = torch.device("cuda")
    if count:
        error = _try_operation(gpu)
        if error is None:
            console.say(f"{purpose} on {_card_name(gpu)}")
            return gpu
        problem = f"{_card_name(gpu)} cannot be used: {device_errors.describe(error)}"
    if problem:
        console.warn(f"{problem}; the CPU is used instead")
    console.say(f"{purpose} on CPU, {torch.get_num_threads()} threads")
    return torch.device("cpu")


def _check_gpu(device: Any) -> None:
    count, problem = _count_gpus()
    if (device.index or 0) >= count:
        raise UsageError(f"--device {device}: {problem or _describe_count(count)}", "use --device cpu, or auto")
    error = _try_operation(device)
    if error is not None and device_errors.is_out_of_memory(error):
        raise ZooError(f"--device {device}: {device_errors.describe(error)}", "free its memory, or use --device cpu")
    if error is not None:
        reason = device_errors.describe(error)
        raise UsageError(f"--device {device}: {_card_name(device)} cannot be used: {reason}", "use --device cpu")


def _count_gpus() -> tuple[int, str]:
    """The number of GPUs, and why there is none if torch warns of a driver that does not work."""
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        count = torch.cuda.device_count()
    return count, "" if count or not caught else str(caught[0].message).splitlines()[0]


def _describe_count(count: int) -> str:
    import torch

    if not count:
        is_built = torch.backends.cuda.is_built()  # type: ignore[no-untyped-call]
        return "there is no CUDA device here" if is_built else f"torch {torch.__version__} is built without CUDA"
    return "there is one CUDA device here, cuda:0" if count == 1 else f"there are {count} CUDA devices here"


def _try_operation(device: Any) -> Exception | None:
    """Run one operation on a GPU and read its result; the error, if it fails.

    A driver that is too old, or a torch without kernels for the GPU, is noticed only then.
    """
    try:
        _run_operation(device)
    except (RuntimeError, AssertionError) as error:
        return error
    return None


def _run_operation(device: Any) -> None:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if torch.ones(2, device=device).sum().item() != 2:
            raise RuntimeError("1 + 1 is not 2 on it")


def _card_name(device: Any) -> str:
    import torch

    try:
        return str(torch.cuda.get_device_name(device))
    except (RuntimeError, AssertionError):  # without a driver that works, it has no name
        return str(device)


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
