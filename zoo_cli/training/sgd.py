"""SGD with momentum: one pass over parameter, gradient and momentum."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim.sgd import sgd


@dataclass(eq=False)
class Sgd:
    """The update of `torch.optim.SGD`, which imports torch's compiler when it is made: seconds before the first step.

    `momentum_buffers`: of each parameter, changed in place; None without momentum. `rate`: the learning rate, a tensor
    where a CUDA graph reads it anew in every step. `found_inf`: a scalar on the device; where it is 1, a step changes
    nothing, without a wait for the device.
    """

    parameters: Sequence[Tensor]
    momentum_buffers: Sequence[Tensor | None]
    rate: float | Tensor
    momentum: float
    weight_decay: float
    nesterov: bool
    found_inf: Tensor

    def set_rate(self, rate: float) -> None:
        """Change the learning rate, a tensor in place."""
        if isinstance(self.rate, Tensor):
            self.rate.fill_(rate)
        else:
            self.rate = rate

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update the parameters that have a gradient."""
        pairs = zip(self.parameters, self.momentum_buffers, strict=True)
        updated = [(parameter, parameter.grad, buffer) for parameter, buffer in pairs if parameter.grad is not None]
        if not updated:
            return
        parameters, gradients, buffers = zip(*updated, strict=True)
        sgd(
            list(parameters),
            list(gradients),
            list(buffers),
            fused=True,
            found_inf=self.found_inf,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            lr=self.rate,  # type: ignore[arg-type, unused-ignore]  # torch 2.11 says float and takes tensors
            dampening=0.0,
            nesterov=self.nesterov,
            maximize=False,
        )
