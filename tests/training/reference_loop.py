"""A reference for the loss of the source heads: a loop over the sources, differentiated by autograd."""

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional


def losses(logits: Tensor, targets: Tensor, offsets, kinds, temperature=1.0) -> Tensor:
    """(S,) losses of the sources."""
    each = []
    for (a, b), kind in zip(pairwise(offsets), kinds, strict=True):
        z = logits[:, a:b] / temperature
        q = targets[:, a:b].to(z.dtype)
        if kind == "softmax":
            q = q / q.sum(1, keepdim=True)
            q = q ** (1 / temperature)
            q = q / q.sum(1, keepdim=True)
            loss = functional.cross_entropy(z, q)
        else:
            on, off = q ** (1 / temperature), (1 - q) ** (1 / temperature)
            loss = functional.binary_cross_entropy_with_logits(z, on / (on + off))
        each.append(loss * temperature**2)
    return torch.stack(each)


def case(counts, kinds, rows=4, seed=0, dtype=torch.float64, stored=torch.float16, spread=4.0):
    """Logits (rows, sum K) and stored targets: peaked, spread out and one-hot rows, with exact zeros among them."""
    generator = torch.Generator().manual_seed(seed)
    offsets = [0]
    columns = []
    for count, kind in zip(counts, kinds, strict=True):
        offsets.append(offsets[-1] + count)
        scores = torch.randn(rows, count, generator=generator, dtype=torch.float64) * spread
        q = scores.softmax(1) if kind == "softmax" else scores.sigmoid()
        if kind == "softmax":
            q[0] = torch.eye(count, dtype=torch.float64)[0]
        else:
            q[0] = (q[0] > 0.5).double()
        columns.append(q)
    logits = torch.randn(rows, offsets[-1], generator=generator, dtype=torch.float64) * spread
    return logits.to(dtype), torch.cat(columns, 1).to(stored), tuple(offsets)
