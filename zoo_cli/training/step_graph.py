"""The step of a training as a CUDA graph: recorded once, then launched as a whole instead of kernel by kernel."""

import dataclasses
from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor

from zoo_cli import console
from zoo_cli.errors import UsageError
from zoo_cli.objectives.supervised import Batch

WARM_UP = 3
"""Steps before the capture, in which libraries choose their algorithms and memory is set up."""


class StepGraph:
    """A step on batches, all of the same shapes, that becomes a CUDA graph after three warm-up steps.

    The step changes tensors in place only, reads nothing of its batch on the host, and depends on nothing else that
    changes from step to step. If it cannot be captured, there is one warning, and all steps go on as they are: a
    capture computes nothing, so nothing is lost.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.warm_up = WARM_UP
        self.graph: torch.cuda.CUDAGraph | None = None
        self.batch: Batch | None = None
        self.failed = False

    def run(self, compute: Callable[[Batch], None], batch: Batch) -> None:
        """One step, `compute(batch)`, the same function every time."""
        if self.failed:
            compute(batch)
        elif self.warm_up:
            self.warm_up -= 1
            self._compute_aside(compute, batch)
        elif self.graph is None:
            self._capture(compute, batch)
            self.run(compute, batch)
        else:
            assert self.batch is not None
            for buffer, tensor in zip(_tensors(self.batch), _tensors(batch), strict=True):
                buffer.copy_(tensor, non_blocking=True)
            self.graph.replay()

    def _compute_aside(self, compute: Callable[[Batch], None], batch: Batch) -> None:
        """A step on the stream of the capture."""
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            compute(batch)
        current.wait_stream(self.stream)

    def _capture(self, compute: Callable[[Batch], None], batch: Batch) -> None:
        """Record the step on buffers of its own."""
        self.batch = dataclasses.replace(
            batch, **{name: tensor.clone() for name, tensor in vars(batch).items() if tensor is not None}
        )
        graph = torch.cuda.CUDAGraph()
        state = torch.cuda.get_rng_state(self.device)
        try:
            # An outer context for the stream, because torch leaves its own open where a capture ends with an error.
            # Other threads, which make the next batches, may go on.
            with (
                torch.cuda.stream(self.stream),
                torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"),
            ):
                compute(self.batch)
        except (RuntimeError, UsageError) as failure:
            error = failure.__cause__ or failure  # the guard of the student has raised it
            self.failed, self.batch = True, None
            _clean_up(graph, state, self.device)
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            console.warn(f"the step does not run as a CUDA graph ({reason}): it runs without, which is slower")
        else:
            self.graph = graph


def _tensors(batch: Batch) -> list[Tensor]:
    return [tensor for tensor in vars(batch).values() if tensor is not None]


def _clean_up(graph: torch.cuda.CUDAGraph, state: Tensor, device: torch.device) -> None:
    """Undo what a capture that ended with an error leaves behind: a random generator and an allocator that capture."""
    index = torch.cuda.current_device() if device.index is None else device.index
    with suppress(RuntimeError, AttributeError):
        torch._C._cuda_endAllocateToPool(index, graph.pool())
    with suppress(RuntimeError):
        generator = torch.Generator(device)
        generator.set_state(state)
        torch.cuda.default_generators[index].graphsafe_set_state(generator.graphsafe_get_state())
