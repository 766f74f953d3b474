"""The mean over some rows of a step's batch, of which a process may have only a share."""

import torch
from torch import Tensor

from zoo_cli import collectives, ranks


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean () of those values (B,) for which `mask` (B,) is true, 0 if there are none.

    Where several processes share a batch, their results differ, and the mean of these is the mean over the whole batch:
    each sum is divided by the mean number of such rows in a share. Means over all rows need no such care, because all
    shares are of one length.
    """
    rows = collectives.mean(mask.sum())
    return torch.where(mask, values, 0.0).sum() / rows.clamp_min(1 / ranks.world_size())
