"""A soup: one network whose weights are the average of several that began alike (paper 002, several teachers)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from zoo_cli.errors import ContractError, UsageError


def soup(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The uniform average of state dicts of one architecture, in the first one's order, on the CPU.

    Floating parameters and buffers are summed in float64 and rounded once to their own dtype; all other entries, the
    counters of batch norms, are the first one's. The average of batch-norm statistics is not the statistics of the
    averaged network: see `batch_norm.recalibrate`. Nothing given is changed or shared.
    Raises UsageError for no state at all, ContractError where names, shapes or dtypes differ.
    """
    if not states:
        raise UsageError("a soup of no students", "it averages one student or more")
    first = states[0]
    for number, other in enumerate(states[1:], 2):
        _agree(first, other, number)
    return {name: _mean([state[name] for state in states]) for name in first}


def _mean(entries: list[Tensor]) -> Tensor:
    kept = entries[0].detach().cpu()
    if len(entries) == 1 or not kept.is_floating_point():
        return kept.clone()
    total = torch.zeros(kept.shape, dtype=torch.float64)
    for entry in entries:
        total += entry.detach().cpu()
    return (total / len(entries)).to(kept.dtype)


def _agree(first: Mapping[str, Tensor], other: Mapping[str, Tensor], number: int) -> None:
    where, hint = f"student {number} of the soup", "a soup is made of students that began from the same network"
    if odd := sorted(first.keys() ^ other.keys()):
        raise ContractError(f'{where}: "{odd[0]}" is not in it and in the first one', hint)
    for name, one in first.items():
        if (one.shape, one.dtype) != (other[name].shape, other[name].dtype):
            sizes = " and ".join(f"{'x'.join(map(str, t.shape)) or 'a number'} {t.dtype}" for t in (one, other[name]))
            raise ContractError(f'{where}: "{name}" differs from the first one: {sizes}'.replace("torch.", ""), hint)
