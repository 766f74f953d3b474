"""Model soups: the average of the weights of students that started from the same network (paper 002)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from zoo_cli.errors import ContractError, UsageError


def average_states(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The uniform average of state dicts of one architecture, in the first one's order, on the CPU.

    Floating-point parameters and buffers are summed in float64 and rounded once to their own dtype; all other entries
    (the counters of batch norms) are the first one's. Averaged batch-norm statistics are not the statistics of the
    averaged network: see `batch_norm.recalibrate`. The inputs are not changed, and the result shares no memory with
    them. Raises UsageError for no state, ContractError if names, shapes or dtypes differ.
    """
    if not states:
        raise UsageError("a soup of no students", "give at least one")
    first = states[0]
    for number, other in enumerate(states[1:], 2):
        _check_alike(first, other, number)
    return {name: _mean([state[name] for state in states]) for name in first}


def _mean(entries: list[Tensor]) -> Tensor:
    first = entries[0].detach().cpu()
    if len(entries) == 1 or not first.is_floating_point():
        return first.clone()
    total = torch.zeros(first.shape, dtype=torch.float64)
    for entry in entries:
        total += entry.detach().cpu()
    return (total / len(entries)).to(first.dtype)


def _check_alike(first: Mapping[str, Tensor], other: Mapping[str, Tensor], number: int) -> None:
    where, hint = f"student {number} of the soup", "the students of a soup start from the same network"
    if unshared := sorted(first.keys() ^ other.keys()):
        raise ContractError(f'{where}: "{unshared[0]}" is not both in it and in the first one', hint)
    for name, tensor in first.items():
        pair = (tensor, other[name])
        if len({(entry.shape, entry.dtype) for entry in pair}) > 1:
            sizes = " and ".join(f"{'x'.join(map(str, t.shape)) or 'a number'} {t.dtype}" for t in pair)
            raise ContractError(f'{where}: "{name}" differs from the first one: {sizes}'.replace("torch.", ""), hint)
