"""Batch norm over the whole batch of a step, of which each process of a job has an equal share.

torch's own SyncBatchNorm takes no CPU tensors, and replaces modules. Here the function that every batch norm calls is
replaced while the student runs, also for the subclasses of other libraries. The statistics of all shares are gathered
in the forward pass and the sums of their gradients in the backward pass: one message of two numbers a channel each.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from zoo_cli import collectives, ranks


def normalising_globally() -> AbstractContextManager[object]:
    """A context in which batch norms in train mode use the statistics of all shares; empty in a single process."""
    return nullcontext() if ranks.world_size() == 1 else _GlobalBatchNorm()


class _GlobalBatchNorm(TorchFunctionMode):
    """Calls `batch_norm` below in place of torch's."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return (batch_norm if func is functional.batch_norm else func)(*args, **(kwargs or {}))


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`torch.nn.functional.batch_norm` of the shares (B, C, …) of all processes, each with as many rows.

    Raises ValueError for a single value per channel.
    """
    if not training:
        return functional.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    count = x.numel() // x.shape[1] * ranks.world_size()
    if count == 1:
        raise ValueError(f"expected more than one value per channel when training, got {tuple(x.shape)}")
    if weight is None:
        weight = x.new_ones(x.shape[1])
    result, mean, var = _BatchNorm.apply(x, weight, bias, eps)
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.mul_(1 - momentum).add_(mean, alpha=momentum)
            running_var.mul_(1 - momentum).add_(var, alpha=momentum * count / (count - 1))
    return result  # type: ignore[no-any-return]


class _BatchNorm(torch.autograd.Function):
    """The normalised share (B, C, …), and mean and biased variance (C,) of all shares.

    torch's own kernels compute the statistics and the gradient of a share; what the other shares add to them is, in
    each channel, a constant and a multiple of x.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        _, *own = torch.native_batch_norm(x, weight, bias, None, None, True, 0.0, eps)
        means, inverse_stds = collectives.gather(torch.stack(own)).double().unbind(1)
        centre = means.mean(0)
        spread = (inverse_stds**-2 - eps + (means - centre) ** 2).mean(0).clamp_min(0)
        mean, var, inverse_std = (each.to(own[0].dtype) for each in (centre, spread, (spread + eps).rsqrt()))
        ctx.save_for_backward(x, weight, mean, inverse_std)
        ctx.eps, ctx.has_bias = eps, bias is not None
        result, _, _ = torch.native_batch_norm(x, weight, bias, mean, var, False, 0.0, eps)
        ctx.mark_non_differentiable(mean, var)
        return result, mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse_std = ctx.saved_tensors
        # With the global statistics, but with the sums of this share alone.
        of_x, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, None, None, mean, inverse_std, True, ctx.eps, [True, True, True]
        )
        sums = torch.stack([of_weight, of_bias])
        slope, offset = (sums - collectives.mean(sums)) / (x.numel() // x.shape[1])
        scale = weight * inverse_std
        slope = scale * inverse_std * slope
        offset = scale * offset - slope * mean
        shape = (1, -1) + (1,) * (x.ndim - 2)
        of_x += torch.addcmul(offset.view(shape), x, slope.view(shape))
        return of_x, of_weight.to(weight.dtype), of_bias if ctx.has_bias else None, None
