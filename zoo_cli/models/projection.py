"""The seeded sign projection of gradients that are too long to store, without a matrix of signs.

Every vector g becomes five blocks of q/5 sums: in each block, entry g_a is added to the sum of a random bucket with a
random sign (the sparse sign projection of Kane and Nelson 2014; each block alone is a count sketch). After division by
sqrt(5), the inner products of projected vectors have those of the vectors as their mean over seeds, and a variance of
the order of 1/q of their squared norms, as with a dense matrix of signs, at a cost that does not grow with q. Each
block is a projection with a seed of its own, so every projection contains five independent ones.

A sum of outer products u v' need not be formed: the bucket h(a) + h'(b) with the sign s(a) s'(b) is as random for pairs
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
    """A projection of vectors of any length to `size` numbers q, a multiple of five, drawn from `seed`."""

    size: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size < BLOCKS or self.size % BLOCKS:
            raise UsageError(f"a projection to {self.size} numbers", f"give a multiple of {BLOCKS}")

    def signed_buckets(self, block: int, factor: int, start: int, count: int) -> Tensor:
        """Buckets of the entries `start` to `start + count`, in one block: int64 (count,), independent of the pieces.

        0 to q/5 - 1 are buckets with the sign +, the next q/5 numbers the same buckets with the sign -.
        """
        words = np.random.PCG64([self.seed, block, factor]).advance(start).random_raw(count)
        return torch.from_numpy((words % np.uint64(2 * (self.size // BLOCKS))).astype(np.int64))

    def add(self, sums: Tensor, values: Tensor, factor: int, start: int) -> None:
        """Add values (A, M), entries `start` to `start + A` of M vectors, to sums (5, q/5, M), in place."""
        # The gradient at a transformer's last block is zero except for the one token that the head reads.
        columns = values.any(0).nonzero()[:, 0]
        if 2 * len(columns) > values.shape[1]:
            columns = torch.arange(values.shape[1], device=values.device)
        else:
            values = values[:, columns]
        for block in range(BLOCKS):
            signed = values.new_zeros(2, self.size // BLOCKS, values.shape[1])
            buckets = self.signed_buckets(block, factor, start, len(values)).to(values.device)
            signed.flatten(0, 1).index_add_(0, buckets, values)
            sums[block].index_add_(1, columns, signed[0] - signed[1])

    def combine(self, first: Tensor, second: Tensor) -> Tensor:
        """Sums (5, q/5, N) of outer products from those of their factors (5, q/5, G, N, L), summed over G and L."""
        blocks = []
        for u, v in zip(first, second, strict=True):
            product = torch.einsum("fgnl,fgnl->fn", torch.fft.rfft(u, dim=0), torch.fft.rfft(v, dim=0))
            blocks.append(torch.fft.irfft(product, n=self.size // BLOCKS, dim=0))
        return torch.stack(blocks)

    def to_vectors(self, sums: Tensor) -> Tensor:
        """The projected vectors (N, q) of sums (5, q/5, N), block after block."""
        vectors: Tensor = sums.flatten(0, 1).T / BLOCKS**0.5
        return vectors
