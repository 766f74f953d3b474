"""Batches made ahead by a thread, while the steps before them run.

On a GPU always, on a stream of its own, so that neither the copies nor the augmentation delay a step; on a CPU only
while images are decoded for every batch, since otherwise both would compete for the same cores. A batch is a function
of its step alone, so its bits, and those of a resumed run, do not depend on who makes it, or when.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import torch

from zoo_cli.objectives.supervised import Batch
from zoo_cli.training.batch_source import BatchSource

AHEAD = 2
"""Batches that are made before they are needed."""


class _Ready:
    """A batch, and the event of the stream that makes it after which it can be used."""

    def __init__(self, batch: Batch, event: torch.cuda.Event | None):
        self.batch = batch
        self.event = event

    def hand_over(self, device: torch.device) -> Batch:
        """The batch, for the current stream: its memory is not used again before that stream is done with it."""
        if self.event is not None:
            stream = torch.cuda.current_stream(device)
            stream.wait_event(self.event)
            for tensor in vars(self.batch).values():
                if isinstance(tensor, torch.Tensor):
                    tensor.record_stream(stream)
        return self.batch


class BatchesAhead:
    """The batches of steps below `steps`, on the device; to be entered, and left when no more are needed.

    `order`: the memory order of images there.
    Leaving it waits for the batch in the making and makes no other. An error in making a batch is raised, as it is,
    when that batch is asked for.
    """

    def __init__(
        self,
        batch_fn: Callable[[int], Batch],
        device: torch.device,
        steps: int,
        order: torch.memory_format = torch.preserve_format,
    ):
        self.batch_fn = batch_fn
        self.device = device
        self.steps = steps
        self.order = order
        self._waiting: deque[tuple[int, Future[_Ready]]] = deque()
        self._pool: ThreadPoolExecutor | None = None
        self._stream: torch.cuda.Stream | None = None

    def __enter__(self) -> Self:
        if self.device.type == "cuda":
            # By number: the thread has a current device of its own.
            number = torch.cuda.current_device() if self.device.index is None else self.device.index
            self.device = torch.device("cuda", number)
            self._stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
            # What the batches read may still be on its way.
            self._stream.wait_stream(torch.cuda.current_stream(self.device))
        if self._stream is not None or (isinstance(self.batch_fn, BatchSource) and self.batch_fn.decodes):
            self._pool = ThreadPoolExecutor(1, "batches")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._waiting.clear()

    def batch(self, step: int) -> Batch:
        """The batch of a step, ready for the current stream; it asks the thread for the next ones."""
        if self._pool is None:
            return self.batch_fn(step).to(self.device, self.order)
        if not self._waiting or self._waiting[0][0] != step:
            self._drop()
        first = step + len(self._waiting)
        for later in range(first, min(step + AHEAD + 1, self.steps)):
            self._waiting.append((later, self._pool.submit(self._make, later)))
        return self._waiting.popleft()[1].result().hand_over(self.device)

    @property
    def can_leave_gpu(self) -> bool:
        """Whether `leave_gpu` would free memory of the GPU."""
        return isinstance(self.batch_fn, BatchSource) and self.batch_fn.can_leave_gpu

    def leave_gpu(self) -> None:
        """Drop the batches made ahead and move what they are made from to RAM; they are made again from there."""
        assert isinstance(self.batch_fn, BatchSource), "see can_leave_gpu"
        self._drop()
        if self._stream is not None:
            self._stream.synchronize()  # it may still read what is freed
        self.batch_fn.leave_gpu()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _drop(self) -> None:
        """Forget the batches made ahead, once none is in the making."""
        while self._waiting:
            future = self._waiting.popleft()[1]
            if not future.cancel():
                future.exception()

    def _make(self, step: int) -> _Ready:
        if self._stream is None:
            return _Ready(self.batch_fn(step).to(self.device, self.order), None)
        with torch.cuda.device(self.device), torch.cuda.stream(self._stream):
            batch = self.batch_fn(step).to(self.device, self.order)
            return _Ready(batch, self._stream.record_event())
