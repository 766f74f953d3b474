"""The start of a step, to which training returns when a GPU runs out of memory before the weights have changed."""

from collections.abc import Iterable

import torch
from torch import Tensor


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
