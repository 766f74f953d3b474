"""Gains over seeds and images: equal to the paired difference for one seed, and covering for several."""

import numpy as np
import pytest
from scipy import stats

from zoo_cli.evaluation import accuracy_intervals
from zoo_cli.evaluation.seed_gains import seed_gain

N = 60


def right(seed: int, share: float) -> np.ndarray:
    return np.random.default_rng(seed).random(N) < share


def test_one_seed_is_the_paired_difference() -> None:
    before, after = right(0, 0.6), right(1, 0.8)
    gain = seed_gain({0: after}, {0: before})
    expected = accuracy_intervals.paired_difference(before, after)
    assert (gain.gain, gain.low, gain.high) == pytest.approx((expected.difference, expected.low, expected.high))
    assert (gain.seeds, gain.paired) == (1, True)


def test_equal_seeds_count_as_one() -> None:
    before, after = right(0, 0.6), right(1, 0.8)
    one = seed_gain({0: after}, {0: before})
    three = seed_gain(dict.fromkeys(range(3), after), dict.fromkeys(range(3), before))
    assert (one.low, one.high) == (three.low, three.high)


def test_swapping_the_methods_swaps_the_ends() -> None:
    before, after = ({seed: right(seed + offset, 0.7) for seed in range(3)} for offset in (0, 10))
    gain, back = seed_gain(after, before), seed_gain(before, after)
    assert (back.gain, back.low, back.high) == pytest.approx((-gain.gain, -gain.high, -gain.low))


def test_only_common_seeds_are_compared() -> None:
    before = {seed: right(seed, 0.6) for seed in (0, 1)}
    after = {seed: right(seed + 10, 0.7) for seed in (1, 2)}
    gain = seed_gain(after, before)
    assert gain.gain == pytest.approx(after[1].mean() - before[1].mean())
    assert (gain.seeds, gain.paired) == (1, True)


def test_without_a_common_seed_the_means_are_compared() -> None:
    before = {seed: right(seed, 0.6) for seed in (0, 1)}
    after = {seed: right(seed, 0.7) for seed in (2, 3, 4)}
    gain = seed_gain(after, before)
    expected = np.mean([*after.values()]) - np.mean([*before.values()])
    assert gain.gain == pytest.approx(expected)
    assert (gain.seeds, gain.paired) == (2, False)
    assert gain.low < gain.gain < gain.high


def test_interval_of_seeds_alone_is_that_of_student() -> None:
    # Every image of a seed gains the same: only seeds vary, and the interval is that of their mean.
    gains = np.array([0.1, 0.3, 0.2, 0.5])
    gain = seed_gain({seed: np.full(N, value) for seed, value in enumerate(gains)}, {s: np.zeros(N) for s in range(4)})
    reach = stats.t.ppf(0.95, 3) * gains.std(ddof=1) / 2
    assert (gain.gain, gain.low, gain.high) == pytest.approx((gains.mean(), gains.mean() - reach, gains.mean() + reach))


@pytest.mark.parametrize(("spread", "paired"), [(0.0, True), (0.05, True), (0.05, False)])
def test_interval_covers_the_expected_gain(spread: float, paired: bool) -> None:
    rng = np.random.default_rng(0)
    covered, draws, seeds, n = 0, 400, 3, 200
    for _ in range(draws):
        difficulty = rng.normal(0, 0.1, n)
        sides = []
        for share in (0.6, 0.7):
            drawn = rng.random((seeds, n)) < share + difficulty + rng.normal(0, spread, (seeds, 1))
            sides.append(drawn)
        offset = 0 if paired else seeds
        gain = seed_gain(dict(enumerate(sides[1], offset)), dict(enumerate(sides[0])))
        covered += gain.low <= 0.1 <= gain.high
    assert 0.86 <= covered / draws <= 0.97
