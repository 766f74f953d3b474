"""Counter-based random numbers: a function of seed, epoch, sample and column, with no state to save or restore.

The mixing function is the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
generators", OOPSLA 2014), chained once for every key, in int64 arithmetic that wraps in the same way on a CPU and a
GPU. Numbers do not depend on the batch a sample is in, the device, the number of threads, or earlier draws.
"""

import hashlib
from functools import lru_cache

import torch
from torch import Tensor


def _signed(value: int) -> int:
    """An integer modulo 2^64, as the int64 with the same bits."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


_STEP = _signed(0x9E3779B97F4A7C15)
_FIRST = _signed(0xBF58476D1CE4E5B9)
_SECOND = _signed(0x94D049BB133111EB)


def derive_seed(seed: int, purpose: str) -> int:
    """A seed in [0, 2^63) for one purpose ("augment", "labelled stream"), from SHA-256 of both arguments.

    Equal keys then give unrelated numbers for different purposes.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}:{purpose}".encode()).digest()[:8], "big") >> 1


def uniform(seed: int, epoch: Tensor | int, sample: Tensor, count: int) -> Tensor:
    """`count` numbers for every sample: float32 (B, count), uniform on the multiples of 2^-24 in [0, 1).

    `sample` is int64 (B,), `epoch` an integer or int64 (B,); the result is on the device of `sample`.
    """
    key = _chain(_start(seed, sample), epoch)
    key = _chain(key, sample)
    columns = torch.arange(1, count + 1, device=sample.device)
    bits = _mix(key[:, None] + columns * _STEP)
    return ((bits >> 40) & 0xFFFFFF).to(torch.float32) * 2.0**-24


def permutation(seed: int, epoch: int, n: int) -> Tensor:
    """The order of `n` samples in one epoch: int64 (n,), on the CPU. Samples are sorted by distinct hashes."""
    return _permutation(seed, epoch, n).clone()


def index_stream(seed: int, n: int, start: int, count: int) -> tuple[Tensor, Tensor]:
    """Positions `start` to `start + count` of an endless stream of permutations of `n` samples, one per epoch.

    Returns samples and their epochs: int64 (count,) each, on the CPU. Every epoch contains every sample once; a batch
    may span epochs. Resuming needs only the position. Raises ValueError for `n` below 1.
    """
    if n < 1:
        raise ValueError("a stream needs at least one sample")
    positions = torch.arange(start, start + count)
    epochs, offsets = positions // n, positions % n
    samples = torch.empty_like(positions)
    for epoch in range(start // n, (start + count - 1) // n + 1):
        within = epochs == epoch
        samples[within] = _permutation(seed, epoch, n)[offsets[within]]
    return samples, epochs


@lru_cache(maxsize=8)  # two streams that each span two epochs; 50,000 samples take 0.4 MB
def _permutation(seed: int, epoch: int, n: int) -> Tensor:
    counters = torch.arange(1, n + 1)
    key = _chain(_start(seed, counters[:1]), epoch)
    return torch.argsort(_mix(key + counters * _STEP))  # a bijection of distinct numbers, so no ties


def _start(seed: int, like: Tensor) -> Tensor:
    return _mix(torch.full_like(like, _signed(seed + _STEP)))


def _chain(key: Tensor, value: Tensor | int) -> Tensor:
    """Mix one more word into the key."""
    return _mix((key ^ (_signed(value) if isinstance(value, int) else value)) + _STEP)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift_right(x, 30)) * _FIRST
    x = (x ^ _shift_right(x, 27)) * _SECOND
    return x ^ _shift_right(x, 31)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """A right shift that fills with zeros; torch's own copies the sign bit."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
