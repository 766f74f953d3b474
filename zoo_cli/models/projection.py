"""The seeded sign projection of gradients that are too long to keep, without a matrix of signs.

Every column of numbers g_a becomes five blocks of q/5 sums: in each block an index a goes to the one sum that a random
bucket names, with a random sign (the sparse sign projection of Kane and Nelson 2014; each block alone is a count
sketch). Divided by sqrt(5), inner products of projected vectors have those of the vectors themselves as their mean over
seeds, and a variance of the order of 1/q of their squared norms, as with a dense matrix of signs, at a cost that does
not grow with q. Each block is a projection with a seed of its own: five seeds come with every projection.

A sum of outer products u v' need not be formed: a bucket h(a) + h'(b) with the sign s(a) s'(b) is as random for pairs
of entries, and the sums over it are the circular convolution of those of u and of v (Pham and Pagh 2013).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from zoo_cli.errors import UsageError

BLOCKS = 5
FIRST, SECOND = 0, 1  # the two factors of an outer product


@dataclass(frozen=True)
class Projection:
    """A projection to `size` numbers q, a multiple of five, drawn from `seed`: the same for all vectors of a length."""

    size: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size < BLOCKS or self.size % BLOCKS:
            raise UsageError(f"a projection to {self.size} numbers", f"it takes a multiple of {BLOCKS}")

    def places(self, block: int, factor: int, start: int, count: int) -> Tensor:
        """Places (count,) of the indices from `start` on, whichever piece they are asked in: buckets 0 to q/5 - 1 with
        the sign +, and as many more with -."""
        drawn = np.random.PCG64([self.seed, block, factor]).advance(start).random_raw(count)
        return torch.from_numpy((drawn % np.uint64(2 * (self.size // BLOCKS))).astype(np.int64))

    def add(self, sums: Tensor, values: Tensor, factor: int, start: int) -> None:
        """Add values (A, M), entries `start` to `start + A` of M columns, to sums (5, q/5, M), in place."""
        # What comes back to a transformer's last block is zero but for the one token that the head reads.
        columns = values.any(0).nonzero()[:, 0]
        if 2 * len(columns) > values.shape[1]:
            columns = torch.arange(values.shape[1], device=values.device)
        else:
            values = values[:, columns]
        for block in range(BLOCKS):
            signed = values.new_zeros(2, self.size // BLOCKS, values.shape[1])
            places = self.places(block, factor, start, len(values)).to(values.device)
            signed.flatten(0, 1).index_add_(0, places, values)
            sums[block].index_add_(1, columns, signed[0] - signed[1])

    def outer(self, first: Tensor, second: Tensor) -> Tensor:
        """Sums (5, q/5, N) of outer products from those of their factors (5, q/5, G, N, L), added over G and L."""
        blocks = []
        for u, v in zip(first, second, strict=True):
            product = torch.einsum("fgnl,fgnl->fn", torch.fft.rfft(u, dim=0), torch.fft.rfft(v, dim=0))
            blocks.append(torch.fft.irfft(product, n=self.size // BLOCKS, dim=0))
        return torch.stack(blocks)

    def vectors(self, sums: Tensor) -> Tensor:
        """Sums (5, q/5, N) as vectors (N, q), block after block."""
        found: Tensor = sums.flatten(0, 1).T / BLOCKS**0.5
        return found
