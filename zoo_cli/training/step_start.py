"""The start of a step, to which training returns when a GPU runs out of memory before the weights have changed."""

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor, nn

from zoo_cli import device_errors, ranks
from zoo_cli.objectives.supervised import Batch
from zoo_cli.training.batches_ahead import BatchesAhead
from zoo_cli.training.sgd import Sgd


class Steps(Protocol):
    """The state of training. `changes_weights` is true from the optimiser's step to the end of a step."""

    student: nn.Module
    optimiser: Sgd
    healthy: Tensor
    sums: Tensor
    changes_weights: bool

    def step(self, step: int, batch: Batch) -> None:
        """Take a step."""


class StepStart:
    """Copies of the tensors that a forward and a backward pass change, and of the random state that dropout draws from.

    Parameters and momentum are not among them: they change after both passes. The copies are made once and overwritten
    in every step, without waiting for a GPU.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self._live: list[list[Tensor]] = []
        self._copies: list[list[Tensor]] = []
        self._random: list[Tensor] = []

    @torch.no_grad()
    def mark(self, tensors: Iterable[Tensor]) -> None:
        """Copy these tensors as they are now."""
        by_dtype: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            by_dtype.setdefault(tensor.dtype, []).append(tensor)
        # Lists of one dtype are copied by one launch.
        self._live = list(by_dtype.values())
        shapes = [[tensor.shape for tensor in live] for live in self._live]
        if shapes != [[copy.shape for copy in copies] for copies in self._copies]:
            self._copies = [[torch.empty_like(tensor) for tensor in live] for live in self._live]
        for copies, live in zip(self._copies, self._live, strict=True):
            torch._foreach_copy_(copies, live)
        self._random = [torch.get_rng_state()]
        if self.device.type == "cuda":
            self._random.append(torch.cuda.get_rng_state(self.device))

    @torch.no_grad()
    def restore(self) -> None:
        """Give the tensors the values that were marked, in place."""
        for copies, live in zip(self._copies, self._live, strict=True):
            torch._foreach_copy_(live, copies)
        torch.set_rng_state(self._random[0])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(self._random[1], self.device)


def take_step(run: Steps, step: int, ahead: BatchesAhead, start: StepStart) -> None:
    """Take a step, again if the GPU runs out of memory and what batches are made from can leave it.

    Until the optimiser's step, the last of all, a step changes the running statistics of batch norm, the sums of the
    log and the random state alone, and `start` has copies of these. Raises the error of torch if nothing can leave
    the GPU, if the weights may have changed already, and if the second attempt fails.
    """
    # Not where several processes share a step: the others would wait for what this one repeats.
    again = ahead.can_leave_gpu and ranks.world_size() == 1
    if again:
        start.mark([*run.student.buffers(), run.healthy, run.sums])
        before = run.healthy, run.sums
    try:
        run.step(step, ahead.batch(step))
        return
    except RuntimeError as error:
        if not again or run.changes_weights or not device_errors.is_out_of_memory(error):
            raise
    # Not in the handler: the traceback of the error keeps the tensors of the failed step.
    run.optimiser.zero_grad()
    ahead.leave_gpu()
    run.healthy, run.sums = before
    start.restore()
    run.step(step, ahead.batch(step))
