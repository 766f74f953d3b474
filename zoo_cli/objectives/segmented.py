"""The heads of all sources at once: one product, and one loss over segments of its columns.

A loop over S heads costs about ten small operations per head, forward and backward. Here the columns of all heads lie
side by side, and the loss computes its gradient in the forward pass: in one kernel on a GPU (`segmented_triton`), over
slices elsewhere. Padding every head to the widest takes longer than the loop (tests/bench/README.md).
"""

import functools
import subprocess
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from zoo_cli.objectives.segments import Kind, Pieces, check_segments, column_shares, constant_tensor


class SoftLoss(NamedTuple):
    """The weighted sum () of the sources' losses, the losses (S,), and the smallest possible value () of the sum.

    `losses` and `floor`, the weighted entropy of the targets, are detached; loss - floor is the weighted KL divergence.
    """

    loss: Tensor
    losses: Tensor
    floor: Tensor


def soft_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    offsets: tuple[int, ...],
    alpha: tuple[float, ...],
    kinds: tuple[Kind, ...],
    temperature: float = 1.0,
) -> SoftLoss:
    """sum_s alpha_s * L_s, where L_s compares columns offsets[s]:offsets[s + 1] of logits and targets, mean over rows.

    `logits` (B, sum K), any floating type, computed in float32 at least; `targets` (B, sum K): probabilities, any
    floating type; `offsets` (S + 1,) from 0 to sum K; `alpha` (S,) >= 0. For a softmax source L = - sum_k q_k log
    softmax(z)_k, with q renormalised after its rounding to float16 (paper 000, eq. 3). For a sigmoid source L is the
    mean over its classes of - q log sigmoid(z) - (1 - q) log sigmoid(-z). A temperature T means logits / T, targets to
    the power 1 / T (normalised, a sigmoid's with its complement), and T^2 times the loss (Hinton et al. 2015).
    Only the logits have a gradient, of first order. Raises ValueError for shapes or sequences that do not match.
    """
    check_segments(offsets, alpha, kinds)
    if logits.shape != targets.shape or logits.ndim != 2 or logits.shape[1] != offsets[-1] or not len(logits):
        raise ValueError(f"logits {tuple(logits.shape)}, targets {tuple(targets.shape)}, {offsets[-1]} columns")
    loss, pieces, floor = _SoftCrossEntropy.apply(logits, targets, offsets, alpha, kinds, temperature)
    return SoftLoss(loss, pieces[0], floor)


class _SoftCrossEntropy(torch.autograd.Function):
    """The gradient is computed in the forward pass, with softmax and targets at hand; backward only scales it."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        targets: Tensor,
        offsets: tuple[int, ...],
        alpha: tuple[float, ...],
        kinds: tuple[Kind, ...],
        temperature: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        widest = max(b - a for a, b in pairwise(offsets))
        compute = _choose_implementation(logits.device, logits.dtype, targets.dtype, widest, temperature)
        pieces, ctx.gradient = compute(logits, targets, offsets, alpha, kinds, temperature, ctx.needs_input_grad[0])
        loss, floor = (pieces * constant_tensor(alpha, pieces.dtype, logits.device)).sum(1).unbind()
        ctx.mark_non_differentiable(pieces, floor)
        return loss, pieces, floor

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        gradient = None if ctx.gradient is None else ctx.gradient * scale
        return gradient, None, None, None, None, None


def loss_and_gradient(
    logits: Tensor,
    targets: Tensor,
    offsets: tuple[int, ...],
    alpha: tuple[float, ...],
    kinds: tuple[Kind, ...],
    temperature: float,
    with_gradient: bool,
) -> Pieces:
    """What `soft_cross_entropy` needs, over slices: few operations per source, the rest on all columns at once."""
    rows = len(logits)
    z = logits.to(_precision(logits))
    if temperature != 1:
        z = z / temperature
    q = targets.to(z.dtype, copy=True)  # normalised in place
    sizes = [b - a for a, b in pairwise(offsets)]
    log_p = torch.empty_like(z)
    parts = tuple(zip(kinds, *(torch.split(x, sizes, 1) for x in (z, q, log_p)), strict=True))
    for kind, zs, qs, ls in parts:
        _normalise_targets(qs, kind, 1 / temperature)
        ls.copy_(torch.log_softmax(zs, 1) if kind == "softmax" else functional.logsigmoid(zs))
    columns = torch.stack([(q * log_p).sum(0), _plogp(q).sum(0)])
    sums = torch.stack([part.sum(1) for part in torch.split(columns, sizes, 1)], 1)
    for s, (kind, zs, qs, _) in enumerate(parts):
        if kind == "sigmoid":
            rest = 1 - qs
            sums[0, s] += (rest * functional.logsigmoid(-zs)).sum()
            sums[1, s] += _plogp(rest).sum()
    shares = column_shares(offsets, kinds, rows)
    pieces = sums * constant_tensor(tuple(-x * temperature**2 for x in shares), z.dtype, z.device)
    if not with_gradient:
        return pieces, None
    scales = constant_tensor(tuple(a * x * temperature for a, x in zip(alpha, shares, strict=True)), z.dtype, z.device)
    scale = scales.repeat_interleave(constant_tensor(tuple(sizes), torch.long, z.device), output_size=offsets[-1])
    return pieces, log_p.exp_().sub_(q).mul_(scale).to(logits.dtype)


def _normalise_targets(q: Tensor, kind: Kind, power: float) -> None:
    """In place: (B, K) to a power and normalised over each row, or for a sigmoid source each with its complement."""
    rest = 1 - q if kind == "sigmoid" else None
    if power != 1:
        q.pow_(power)
    if rest is None:
        q.div_(q.sum(1, keepdim=True))
    elif power != 1:
        q.div_(rest.pow_(power).add_(q))


def _plogp(p: Tensor) -> Tensor:
    """p log p, 0 at 0. Twice as fast as xlogy on a CPU."""
    return p.clamp_min(torch.finfo(p.dtype).tiny).log_().mul_(p)


def _precision(logits: Tensor) -> torch.dtype:
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


@functools.cache
def _choose_implementation(
    device: torch.device, logits: torch.dtype, targets: torch.dtype, widest: int, temperature: float
) -> Callable[..., Pieces]:
    """The Triton kernel on a GPU if Triton works there, else slices.

    Triton can be installed and still fail, for example without a C compiler or for lack of registers: so it is tried
    once, on one row of the widest source, which is the kernel that the loss will run.
    """
    if device.type != "cuda":
        return loss_and_gradient
    try:
        from zoo_cli.objectives import segmented_triton
    except (ImportError, RuntimeError, OSError):
        return loss_and_gradient
    row = torch.ones(1, widest, device=device)
    try:
        segmented_triton.loss_and_gradient(
            row.to(logits), row.to(targets), (0, widest), (1.0,), ("softmax",), temperature, True
        )
    except (segmented_triton.TritonError, RuntimeError, OSError, subprocess.CalledProcessError):
        return loss_and_gradient
    return segmented_triton.loss_and_gradient


def linear(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """features (B, D) @ weight.T (D, sum K) + bias (sum K,), equal to `nn.functional.linear` up to rounding.

    In float32 on a CPU through oneDNN, which uses the widest vector instructions of any vendor: the library that torch
    links took 2.1 times as long for these three products on an AMD processor.
    """
    tensors = (features, weight, bias)
    if (
        features.device.type == "cpu"
        and all(x.dtype == torch.float32 for x in tensors)
        and not torch.is_autocast_enabled("cpu")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    ):
        product: Tensor = _Product.apply(*tensors)
        return product
    return functional.linear(*tensors)


class _Product(torch.autograd.Function):
    """`nn.functional.linear` in float32 through oneDNN."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(features, weight)
        return _onednn(features, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        features, weight = ctx.saved_tensors
        return _onednn(gradient, weight.t()), _onednn(gradient.t(), features.t()), gradient.sum(0)


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product
