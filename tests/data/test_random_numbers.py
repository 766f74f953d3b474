"""Counter-based random numbers: independent of all other draws, and random nonetheless."""

import pytest
import torch

from zoo_cli.images.random_numbers import derive_seed, index_stream, permutation, uniform


def test_numbers_are_independent_of_the_batch() -> None:
    whole = uniform(7, 3, torch.arange(1000), 11)
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(1))
    assert torch.equal(uniform(7, 3, order, 11), whole[order])
    for sample in (0, 1, 999):
        assert torch.equal(uniform(7, 3, torch.tensor([sample]), 11)[0], whole[sample])
    assert torch.equal(uniform(7, torch.full((1000,), 3), torch.arange(1000), 5), whole[:, :5])


def test_numbers_follow_the_algorithm_in_plain_python() -> None:
    def mix(x: int) -> int:
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return x ^ (x >> 31)

    step = 0x9E3779B97F4A7C15
    for seed, epoch, sample in [(0, 0, 0), (12345, 6, 789), (2**63 + 5, 2**40, 2**50)]:
        key = mix((seed + step) % 2**64)
        for word in (epoch, sample):
            key = mix(((key ^ word) + step) % 2**64)
        expected = [(mix((key + column * step) % 2**64) >> 40) / 2**24 for column in (1, 2, 3)]
        assert uniform(seed, epoch, torch.tensor([sample]), 3)[0].tolist() == expected


def test_numbers_are_uniform_and_uncorrelated() -> None:
    samples = torch.arange(4000)
    for numbers in (
        uniform(0, 0, samples, 64),
        torch.stack([uniform(seed, 0, samples[:64], 1)[:, 0] for seed in range(1000)]),
        torch.stack([uniform(0, epoch, samples[:64], 1)[:, 0] for epoch in range(1000)]),
    ):
        assert numbers.dtype == torch.float32
        assert float(numbers.min()) >= 0
        assert float(numbers.max()) < 1
        rows = numbers.shape[0]
        assert (numbers.double().mean(0) - 0.5).abs().max() < 5 * (1 / 12 / rows) ** 0.5
        correlation = torch.corrcoef(numbers.double().T) - torch.eye(64, dtype=torch.float64)
        assert correlation.abs().max() < 6 / rows**0.5
        counts = torch.histc(numbers, 100, 0, 1)
        expected = numbers.numel() / 100
        assert float(((counts - expected) ** 2 / expected).sum()) < 170  # chi-squared, 99 degrees, p about 1e-5


def test_permutations_are_complete_and_vary_by_epoch_and_seed() -> None:
    for n in (1, 2, 1000):
        assert sorted(permutation(5, 2, n).tolist()) == list(range(n))
    assert not torch.equal(permutation(5, 2, 1000), permutation(5, 3, 1000))
    assert not torch.equal(permutation(5, 2, 1000), permutation(6, 2, 1000))
    first = permutation(5, 2, 10)
    first.zero_()
    assert permutation(5, 2, 10).sum() == 45


def test_every_order_of_three_is_equally_likely() -> None:
    orders = torch.tensor([permutation(0, epoch, 3).tolist() for epoch in range(3000)])
    _, counts = orders.unique(dim=0, return_counts=True)
    assert len(counts) == 6
    assert float(((counts - 500.0) ** 2 / 500).sum()) < 31  # chi-squared, 5 degrees, p about 1e-5


@pytest.mark.parametrize("n", [1, 3, 10, 64])
def test_a_stream_concatenates_the_permutations(n: int) -> None:
    whole = torch.cat([permutation(9, epoch, n) for epoch in range(100 // n + 2)])
    for start, count in ((0, 100), (1, 7), (n, n), (37, 20), (50, 0)):
        samples, epochs = index_stream(9, n, start, count)
        assert torch.equal(samples, whole[start : start + count])
        assert torch.equal(epochs, torch.arange(start, start + count) // n)


def test_an_empty_stream_is_refused() -> None:
    with pytest.raises(ValueError):
        index_stream(0, 0, 0, 4)


def test_every_purpose_has_its_own_seed() -> None:
    assert derive_seed(0, "augment") == derive_seed(0, "augment")
    assert len({derive_seed(seed, purpose) for seed in range(50) for purpose in ("augment", "stream")}) == 100
    assert all(0 <= derive_seed(seed, "x") < 2**63 for seed in (-1, 0, 2**70))


@pytest.mark.gpu
def test_gpu_numbers_are_bit_equal() -> None:
    samples = torch.arange(5000)
    assert torch.equal(uniform(3, 4, samples.cuda(), 7).cpu(), uniform(3, 4, samples, 7))
