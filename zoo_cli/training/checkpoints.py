"""The state of a run as its checkpoints hold it, and how it is copied and written.

On a GPU it is copied to pinned memory without waiting, and a thread writes it while the next steps run.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class State:
    """A run after `step` steps: contiguous copies, on the CPU, of all that its remaining steps depend on.

    `tensors`: "model/…", "objective/…" and "momentum/…" by name, "rng/…" uint8, "log/sums" of the next row. `log`, for
    JSON: the first step of that row, and the names of its values. `copied`: the event after which the copies of a GPU's
    tensors are complete; None if they are.
    """

    step: int
    tensors: dict[str, Tensor]
    log: dict[str, Any]
    copied: torch.cuda.Event | None = None


def copy_state(step: int, tensors: Mapping[str, Tensor], log: dict[str, Any], device: torch.device) -> State:
    """The state of these tensors, which lie on `device` or on the CPU."""
    is_cuda = device.type == "cuda"
    copies = {
        name: torch.empty(t.shape, dtype=t.dtype, pin_memory=is_cuda).copy_(t.detach(), non_blocking=is_cuda)
        for name, t in tensors.items()
    }
    if not is_cuda:
        return State(step, copies, log)
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
    copied.record(torch.cuda.current_stream(device))
    return State(step, copies, log, copied)


class CheckpointWriter:
    """A context that saves states: those of a GPU in a thread, one at a time. At its end, all are saved.

    An error of `save` is raised by the next call, or at the end.
    """

    def __init__(self, save: Callable[[State], None]):
        self._save = save
        self._thread: ThreadPoolExecutor | None = None
        self._last: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def save(self, state: State) -> None:
        """Save a state, at once if it is complete, else as soon as its copies are."""
        if state.copied is None:
            self._save(state)
            return
        self._wait()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._last = self._thread.submit(self._save_copied, state)

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if self._thread is not None:
            self._thread.shutdown()
        if error is None:
            self._wait()

    def _save_copied(self, state: State) -> None:
        assert state.copied is not None
        state.copied.synchronize()
        self._save(state)

    def _wait(self) -> None:
        """Wait for the last state, and raise what went wrong with it."""
        last, self._last = self._last, None
        if last is not None:
            last.result()
