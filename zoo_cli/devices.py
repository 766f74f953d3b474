"""Where the arithmetic runs: the values of --device, --precision and --workers, checked before any work."""

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

from zoo_cli import console, device_errors, ranks
from zoo_cli.counts import count_things
from zoo_cli.errors import UsageError, ZooError

Precision = Literal["fp32", "tf32", "bf16"]
CUBLAS_CONFIG = "CUBLAS_WORKSPACE_CONFIG"


def choose(name: str, *, purpose: str) -> Any:
    """The torch.device that a flag names, after one operation has run on it.

    "auto" takes a GPU that works, else the CPU, with a warning if there is a GPU. Raises UsageError for a device that
    is not there or cannot be used, ZooError for a GPU without free memory.
    """
    import torch

    name = _own_card(name)
    check_device_name(name)
    if name == "auto":
        return _choose_automatically(purpose)
    device = torch.device(name)
    if device.type == "cuda":
        _check_gpu(device)
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


def has_cuda() -> bool:
    """Whether there is a CUDA device."""
    import torch

    return torch.cuda.is_available()


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
    console.say(f"{purpose} on CPU, {count_things(torch.get_num_threads(), 'thread')}")
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
    return max(1, (os.cpu_count() or 1) // ranks.local_world_size()) if requested is None else requested


def threads() -> int:
    """The number of CPU threads of torch, on which the bits of a CPU's results depend."""
    import torch

    return torch.get_num_threads()


def check_precision(precision: str, device: Any = None) -> None:
    """Raise UsageError for a precision that is not supported, at all or on this torch.device."""
    if precision not in get_args(Precision):
        *others, last = get_args(Precision)
        raise UsageError(f'no precision "{precision}"', f"{', '.join(others)} or {last}")
    if precision == "tf32" and device is not None and device.type != "cuda":
        raise UsageError("--precision tf32 needs a CUDA device", "use fp32, or --device cuda")


@contextmanager
def arithmetic(device: Any, precision: str, *, cast: bool = True) -> Iterator[None]:
    """Compute in a precision on a torch.device; torch's global switches are restored afterwards.

    fp32 is exact: TF32 is off for matrix products and convolutions. tf32 has it on for both. bf16 is autocast, and
    exact fp32 without `cast`: so are the predictions of a student that trains in bf16.
    """
    import torch

    check_precision(precision, device)
    with _tf32(device, precision == "tf32"):
        if precision == "bf16" and cast:
            with torch.autocast(device.type, dtype=torch.bfloat16):
                yield
        else:
            yield


@contextmanager
def algorithms(device: Any, *, deterministic: bool) -> Iterator[None]:
    """Let torch choose the fastest algorithms on a CUDA device, or anywhere none but deterministic ones.

    torch's global switches are restored afterwards. Raises ZooError for an operation without a deterministic form.
    """
    import torch

    cudnn = torch.backends.cudnn
    benchmark = cudnn.benchmark
    enabled, only_warns = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    workspace = os.environ.get(CUBLAS_CONFIG)
    try:
        if device.type == "cuda":
            cudnn.benchmark = not deterministic
        if deterministic:
            # cuBLAS reads it when it starts.
            os.environ.setdefault(CUBLAS_CONFIG, ":4096:8")
            torch.use_deterministic_algorithms(True)
        yield
    except RuntimeError as error:
        operation, separator, _ = str(error).partition(" does not have a deterministic implementation")
        if not deterministic or not separator:
            raise
        raise ZooError(
            f"{operation} has no deterministic form on {device}",
            "leave out --deterministic, or use another student or --augment",
        ) from error
    finally:
        cudnn.benchmark = benchmark
        torch.use_deterministic_algorithms(enabled, warn_only=only_warns)
        if workspace is None:
            os.environ.pop(CUBLAS_CONFIG, None)


@contextmanager
def _tf32(device: Any, enabled: bool) -> Iterator[None]:
    """TF32 on or off for matrix products and convolutions, on a CUDA device; elsewhere nothing changes."""
    import torch

    if device.type != "cuda":
        yield
        return
    matmul: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    # torch 2.9 and later hold each switch twice, and complain where the two differ: the old ones set both.
    switches = [matmul, cudnn.conv, cudnn.rnn] if hasattr(matmul, "fp32_precision") else []
    precisions = [switch.fp32_precision for switch in switches]
    before = _read_tf32()
    _set_tf32(enabled, enabled)
    try:
        yield
    finally:
        _set_tf32(*before)
        for switch, precision in zip(switches, precisions, strict=True):
            switch.fp32_precision = precision


def _read_tf32() -> tuple[bool, bool]:
    """The old switches of matrix products and of cuDNN; their defaults where only the new ones were set."""
    import torch

    values = []
    for backend, default in ((torch.backends.cuda.matmul, False), (torch.backends.cudnn, True)):
        try:
            values.append(bool(backend.allow_tf32))
        except RuntimeError:
            values.append(default)
    return values[0], values[1]


def _set_tf32(matmul: bool, cudnn: bool) -> None:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 2.9 warns of its old names
        torch.backends.cuda.matmul.allow_tf32 = matmul
        torch.backends.cudnn.allow_tf32 = cudnn
