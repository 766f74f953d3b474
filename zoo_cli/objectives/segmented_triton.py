"""The segmented loss on a GPU: one Triton kernel, one program for each (row, source) pair.

A program writes the loss and entropy of its pair and its part of the gradient; nothing is summed across programs, so
that no result depends on their order. It reads its logits three times, twice from the cache.
"""

from itertools import pairwise

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.errors import TritonError

from zoo_cli.objectives.segments import Kind, Pieces, column_shares, constant_tensor

__all__ = ["TritonError", "loss_and_gradient"]


@triton.jit
def _log(p):  # type: ignore[no-untyped-def]
    """log p, 0 where p is 0: there it is always multiplied by p or discarded. NaN stays NaN."""
    return tl.log(tl.where(p == 0, 1.0, p))


@triton.jit
def _power(p, exponent):  # type: ignore[no-untyped-def]
    """p to a positive power, for p >= 0."""
    return tl.where(p == 0, 0.0, tl.exp(_log(p) * exponent))


@triton.jit  # type: ignore[untyped-decorator]
def _kernel(  # type: ignore[no-untyped-def]
    logits,
    targets,
    gradient,
    losses,
    entropies,
    offsets,
    sigmoid,
    scales,
    logits_stride,
    targets_stride,
    columns,
    sources,
    SOFTEN: tl.constexpr,
    WITH_GRADIENT: tl.constexpr,
    DTYPE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One row and one source. `scales` (S + 1): the factor of each source in the gradient, then 1 / T."""
    row = tl.program_id(0).to(tl.int64)
    source = tl.program_id(1)
    start = tl.load(offsets + source)
    stop = tl.load(offsets + source + 1)
    scale = tl.load(scales + source)
    inverse = tl.load(scales + sources)
    logits += row * logits_stride
    targets += row * targets_stride
    gradient += row * columns
    pair = row * sources + source
    lanes = tl.arange(0, BLOCK)
    loss = tl.zeros((BLOCK,), DTYPE)
    entropy = tl.zeros((BLOCK,), DTYPE)

    if tl.load(sigmoid + source) != 0:
        for first in range(start, stop, BLOCK):
            at = first + lanes
            inside = at < stop
            z = tl.load(logits + at, mask=inside, other=0.0).to(DTYPE) * inverse
            q = tl.load(targets + at, mask=inside, other=0.0).to(DTYPE)
            if SOFTEN:
                softened = _power(q, inverse)
                q = softened / (softened + _power(1 - q, inverse))
            small = tl.exp(-tl.abs(z))  # in (0, 1], so that neither tail overflows
            cross = tl.maximum(z, 0.0) - z * q + tl.log(1 + small)
            loss += tl.where(inside, cross, 0.0)
            entropy -= tl.where(inside, q * _log(q) + (1 - q) * _log(1 - q), 0.0)
            if WITH_GRADIENT:
                p = tl.where(z > 0, 1.0, small) / (1 + small)
                tl.store(gradient + at, (scale * (p - q)).to(gradient.dtype.element_ty), mask=inside)
        size = (stop - start).to(DTYPE)
        tl.store(losses + pair, tl.sum(loss) / size)
        tl.store(entropies + pair, tl.sum(entropy) / size)
    else:
        # Lane by lane, with one reduction after each loop. Lanes outside have weight exp(-inf) = 0.
        peak = tl.full((BLOCK,), float("-inf"), DTYPE)
        weight = tl.zeros((BLOCK,), DTYPE)
        mass = tl.zeros((BLOCK,), DTYPE)
        for first in range(start, stop, BLOCK):
            at = first + lanes
            peak = tl.maximum(peak, tl.load(logits + at, mask=at < stop, other=float("-inf")).to(DTYPE) * inverse)
        top = tl.max(peak)
        for first in range(start, stop, BLOCK):
            at = first + lanes
            z = tl.load(logits + at, mask=at < stop, other=float("-inf")).to(DTYPE) * inverse
            q = tl.load(targets + at, mask=at < stop, other=0.0).to(DTYPE)
            if SOFTEN:
                q = _power(q, inverse)
            weight += tl.exp(z - top)
            mass += q
        total = tl.sum(weight)
        log_total = tl.log(total)
        total_mass = tl.sum(mass)
        for first in range(start, stop, BLOCK):
            at = first + lanes
            inside = at < stop
            z = tl.load(logits + at, mask=inside, other=0.0).to(DTYPE) * inverse - top
            q = tl.load(targets + at, mask=inside, other=0.0).to(DTYPE)
            if SOFTEN:
                q = _power(q, inverse)
            q = q / total_mass
            loss += tl.where(inside, q * (log_total - z), 0.0)
            entropy -= q * _log(q)
            if WITH_GRADIENT:
                p = tl.exp(z) / total
                tl.store(gradient + at, (scale * (p - q)).to(gradient.dtype.element_ty), mask=inside)
        tl.store(losses + pair, tl.sum(loss))
        tl.store(entropies + pair, tl.sum(entropy))


def loss_and_gradient(
    logits: Tensor,
    targets: Tensor,
    offsets: tuple[int, ...],
    alpha: tuple[float, ...],
    kinds: tuple[Kind, ...],
    temperature: float,
    with_gradient: bool,
) -> Pieces:
    """As `segmented.loss_and_gradient`, without waiting for the GPU."""
    logits = logits if logits.stride(1) == 1 else logits.contiguous()
    targets = targets if targets.stride(1) == 1 else targets.contiguous()
    rows, sources = len(logits), len(alpha)
    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    shares = column_shares(offsets, kinds, rows)
    scales = (*(a * x * temperature for a, x in zip(alpha, shares, strict=True)), 1 / temperature)
    pieces = torch.empty(2, rows, sources, dtype=dtype, device=logits.device)
    gradient = torch.empty(logits.shape, dtype=logits.dtype, device=logits.device) if with_gradient else None
    widest = max(b - a for a, b in pairwise(offsets))
    with torch.cuda.device_of(logits):  # type: ignore[no-untyped-call]  # Triton launches on the current device
        _kernel[(rows, sources)](
            logits,
            targets,
            logits if gradient is None else gradient,
            pieces[0],
            pieces[1],
            constant_tensor(offsets, torch.int32, logits.device),
            constant_tensor(tuple(kind == "sigmoid" for kind in kinds), torch.int32, logits.device),
            constant_tensor(scales, dtype, logits.device),
            logits.stride(0),
            targets.stride(0),
            offsets[-1],
            sources,
            SOFTEN=temperature != 1,
            WITH_GRADIENT=with_gradient,
            DTYPE=tl.float64 if dtype == torch.float64 else tl.float32,
            BLOCK=min(1024, triton.next_power_of_2(widest)),
        )
    return pieces.mean(1) * temperature**2, gradient
