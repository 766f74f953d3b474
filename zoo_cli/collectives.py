"""What the processes of a job compute together: sums, means and gathered tensors. Each takes part in every call.

A process on its own gets back what it gave. Tensors travel between cards by NCCL, else by gloo; what decides over the
job, such as a signal, always by gloo, so that nothing waits for a card.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed

from zoo_cli import ranks

TIMEOUT = timedelta(minutes=30)
"""The longest that one process may be behind the others."""
BUCKET_BYTES = 25 * 2**20
"""Tensors travel together in messages of this size, as in torch's DistributedDataParallel."""

_control: Any = None
_tensors: Any = None


def connect(device: torch.device) -> None:
    """Join the other processes of the job, which have such a device too. Raises PeerLost if one is missing."""
    global _control, _tensors
    if ranks.world_size() == 1 or _control is not None:
        return
    ranks.connect()
    with ranks.watching():
        _control = _tensors = distributed.new_group(backend="gloo", timeout=TIMEOUT)
        if device.type == "cuda":
            torch.cuda.set_device(device)
            _tensors = distributed.new_group(backend="nccl", timeout=TIMEOUT)


def greatest(value: int) -> int:
    """The greatest of the integers that the processes give."""
    if ranks.world_size() == 1:
        return value
    values = torch.tensor([value])
    with ranks.watching():
        distributed.all_reduce(values, distributed.ReduceOp.MAX, group=_control)
    return int(values)


def mean(values: Tensor) -> Tensor:
    """The mean of the tensors that the processes give, all of one shape, without gradient."""
    return values if ranks.world_size() == 1 else gather(values).sum(0) / ranks.world_size()


def gather(values: Tensor) -> Tensor:
    """The tensors that the processes give, all of one shape, stacked in the order of their ranks."""
    if ranks.world_size() == 1:
        return values[None]
    values = values.detach().contiguous()
    parts = [torch.empty_like(values) for _ in range(ranks.world_size())]
    with ranks.watching():
        distributed.all_gather(parts, values, group=_tensors)
    return torch.stack(parts)


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace every gradient by its mean over the processes: that of the mean of their losses.

    A wrapper such as torch's DistributedDataParallel would do the same during the backward pass. Here it follows it,
    so that the student stays the module it is, in its copies and checkpoints too.
    """
    if ranks.world_size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    for bucket in _buckets(gradients):
        flat = torch.cat([gradient.flatten() for gradient in bucket])
        with ranks.watching():
            distributed.all_reduce(flat, group=_tensors)
        _scatter(flat.div_(ranks.world_size()), bucket)


def copy_from_first(tensors: Iterable[Tensor]) -> None:
    """Set tensors, in place, to the values that they have in rank 0."""
    if ranks.world_size() == 1:
        return
    for bucket in _buckets([tensor.detach() for tensor in tensors]):
        flat = torch.cat([tensor.flatten() for tensor in bucket])
        with ranks.watching():
            distributed.broadcast(flat, 0, group=_tensors)
        _scatter(flat, bucket)


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors in their order, in lists of one type and about BUCKET_BYTES."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and (tensor.dtype != bucket[0].dtype or sum(each.nbytes for each in bucket) >= BUCKET_BYTES):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


def _scatter(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    for values, tensor in zip(torch.split(flat, [tensor.numel() for tensor in tensors]), tensors, strict=True):
        tensor.copy_(values.view(tensor.shape))
