"""What a card raises when it is full or lost, planted at any of its launches."""

import sys
from collections.abc import Callable

import torch

from .pretended_card import Card

ON_CARD = ("--device", "cuda")
Raise = Callable[[], Exception]
Phase = tuple[str, str]
"""A module of zoo_cli, and a function of it that is being called."""


def out_of_memory() -> Exception:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def allocation_in_cudnn() -> Exception:
    return RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")


def lost_card() -> Exception:
    text = "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously reported"
    return getattr(torch, "AcceleratorError", RuntimeError)(text)


def no_kernel() -> Exception:
    return RuntimeError(
        "CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors might"
    )


ERRORS = {"full": out_of_memory, "cudnn": allocation_in_cudnn, "lost": lost_card}
LINES = {
    "full": "CUDA out of memory. Tried to allocate 2.00 GiB",
    "cudnn": "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "lost": "the GPU failed: CUDA error: an illegal memory access was encountered; what is finished is kept",
}


class Fault:
    """What a card raises at its launch number `at`, counted from 1, of those in a phase; if it `lasts`, later too.

    A lost card fails at every later launch, whatever the phase.
    """

    def __init__(self, card: Card, error: Raise, phase: Phase | None = None, at: int = 1, *, lasts: bool = False):
        self.error, self.phase, self.at, self.lasts = error, phase, at, lasts
        self.launches = self.raised = 0
        card.before_launch = self._launch

    def _launch(self, _operation: str, _line: str) -> None:
        is_due = False
        is_lost = bool(self.raised) and self.error is lost_card
        if self.phase is None or is_within(*self.phase):
            self.launches += 1
            is_due = self.launches == self.at or (self.lasts and self.launches > self.at)
        if is_lost or is_due:
            self.raised += 1
            raise self.error()


def is_within(file: str, function: str) -> bool:
    """Whether a function of zoo_cli is being called."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == function and frame.f_code.co_filename.endswith(f"/zoo_cli/{file}"):
            return True
        frame = frame.f_back
    return False
