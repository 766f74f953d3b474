"""Errors of a GPU as errors of zoo: out of memory, and a card that failed. Nothing here imports torch."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from zoo_cli.errors import ZooError

OUT_OF_MEMORY = re.compile(
    r"CUDA out of memory|(CUDA|CUDA driver) error: out of memory|Triton Error \[CUDA\]: out of memory"
    r"|CU(DNN|BLAS|SPARSE|SOLVER)_STATUS_ALLOC_FAILED|CUFFT_ALLOC_FAILED"
)
CARD_FAILED = re.compile(
    r"(CUDA|CUDA driver|cuDNN|cuBLAS|cuFFT|cuSPARSE|cuSOLVER) error:|Triton Error \[CUDA\]|\bCUDNN_STATUS_[A-Z]"
)
ASSERT = "device-side assert"
"""A check inside a kernel failed, e.g. an index out of range: a bug of the program and not of the card."""
MEMORY_HINT = "lower --batch-size, or use --images memory, --precision bf16 or --device cpu; what is finished is kept"
CARD_HINT = (
    "what is finished is kept and the same command goes on from there; check the card first, e.g. with nvidia-smi"
)


def translate(error: BaseException) -> ZooError | None:
    """The error to show for one that a GPU caused; None for any other."""
    if is_out_of_memory(error):
        return ZooError(describe(error), MEMORY_HINT)
    if _is_card_failure(error):
        return ZooError(f"the GPU failed: {describe(error)}", CARD_HINT)
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation on a GPU failed: torch's own, or one inside cuDNN, cuBLAS or the driver."""
    return isinstance(error, _torch_errors("OutOfMemoryError")) or (
        isinstance(error, RuntimeError) and bool(OUT_OF_MEMORY.search(str(error)))
    )


def describe(error: BaseException) -> str:
    """The first line of an error of torch; of a failed allocation, what was requested and what was free."""
    lines = str(error).strip().splitlines()
    line = lines[0] if lines else type(error).__name__
    # The rest of that line lists torch's pools and allocator settings.
    match = re.match(r".*?\bis free\b", line)
    return match[0] if match else line.rstrip(".:; ")


@contextmanager
def memory_advice(phase: str) -> Iterator[None]:
    """Turn out of memory on a GPU into a ZooError that says when, and what to do."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise ZooError(f"{describe(error)} ({phase})", MEMORY_HINT) from error


def _is_card_failure(error: BaseException) -> bool:
    if ASSERT in str(error):
        return False
    return isinstance(error, _torch_errors("AcceleratorError")) or (
        isinstance(error, RuntimeError) and bool(CARD_FAILED.search(str(error)))
    )


def _torch_errors(name: str) -> tuple[type[BaseException], ...]:
    """A class of torch, in a tuple; empty if torch is not loaded or is a version without it."""
    kind = getattr(sys.modules.get("torch"), name, None)
    return () if kind is None else (kind,)
