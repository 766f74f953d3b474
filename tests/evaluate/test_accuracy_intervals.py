"""Intervals of accuracies and of their differences: against slow references, and identities that always hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from tests.evaluate import coverage
from zoo_cli.evaluation import accuracy_intervals
from zoo_cli.evaluation.accuracy_intervals import accuracy_interval, difference_interval, paired_difference

Z = stats.norm.ppf(0.95)


@st.composite
def counts(draw: st.DrawFn, largest: int = 60) -> tuple[int, int, int]:
    """Gained, lost, and the number of samples."""
    n = draw(st.integers(1, largest))
    gained = draw(st.integers(0, n))
    return gained, draw(st.integers(0, n - gained)), n


@given(st.integers(1, 300), st.floats(0, 1))
def test_accuracy_interval_is_wilson_but_for_rare_counts(n: int, share: float) -> None:
    right = round(share * n)
    interval, expected = accuracy_interval(right, n), stats.binomtest(right, n).proportion_ci(0.9, "wilson")
    rare = 2 if n <= 50 else 3
    low = min(expected.low, stats.gamma.ppf(0.1, right) / n) if 1 <= right <= rare else expected.low
    high = max(expected.high, 1 - stats.gamma.ppf(0.1, n - right) / n) if 1 <= n - right <= rare else expected.high
    assert np.allclose((interval.low, interval.high), (low, high), rtol=0, atol=1e-12)
    assert 0 <= interval.low <= right / n <= interval.high <= 1


def test_all_or_none_right_reach_the_end() -> None:
    for n in range(1, 40):
        assert accuracy_interval(n, n).high == 1
        assert accuracy_interval(0, n).low == 0


def slow_score(gained: int, lost: int, n: int, difference: float) -> float:
    """Tango's score with the nuisance share from a numerical maximum of the likelihood."""

    def loss(only_before: float) -> float:
        shares = np.array([only_before + difference, only_before, 1 - 2 * only_before - difference])
        return -float(np.sum(np.array([gained, lost, n - gained - lost]) * np.log(np.maximum(shares, 1e-300))))

    ends = (max(0.0, -difference), (1 - difference) / 2)
    only_before = optimize.minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-12}).x
    variance = n * (2 * only_before + difference - difference**2)
    return float((gained - lost - n * difference) / np.sqrt(variance))


@pytest.mark.parametrize(
    ("gained", "lost", "n"), [(9, 4, 50), (4, 9, 50), (12, 0, 30), (0, 1, 20), (30, 25, 60), (2, 2, 7), (107, 12, 597)]
)
def test_difference_interval_ends_where_the_score_is_the_quantile(gained: int, lost: int, n: int) -> None:
    interval = difference_interval(gained, lost, n)
    assert slow_score(gained, lost, n, interval.low) == pytest.approx(Z, abs=1e-4)
    assert slow_score(gained, lost, n, interval.high) == pytest.approx(-Z, abs=1e-4)


@given(counts())
def test_exchanged_runs_change_signs_alone(values: tuple[int, int, int]) -> None:
    gained, lost, n = values
    interval, exchanged = difference_interval(gained, lost, n), difference_interval(lost, gained, n)
    assert (exchanged.low, exchanged.high) == (-interval.high, -interval.low)
    assert -1 <= interval.low <= (gained - lost) / n <= interval.high <= 1


def test_significant_differences_exclude_zero() -> None:
    for gained in range(40):
        for lost in range(40 - gained):
            before = np.repeat([False, True, True], [gained, lost, 10])
            after = np.repeat([True, False, True], [gained, lost, 10])
            result = paired_difference(before, after)
            assert result.difference == (gained - lost) / len(before)
            if result.p_value <= 0.05:
                assert result.low > 0 or result.high < 0
            # Without correction McNemar's test at 10 % and the interval agree exactly.
            if gained != lost:
                score = abs(gained - lost) / np.sqrt(gained + lost)
                assert (score > Z) == (result.low > 0 or result.high < 0)


def test_runs_with_the_same_answers_show_no_difference() -> None:
    right = np.arange(20) < 12
    result = paired_difference(right, right)
    assert (result.difference, result.p_value) == (0, 1)
    assert -0.2 < result.low < 0 < result.high == -result.low


def slow_group(right: np.ndarray) -> tuple[float, float]:
    """The variance of the mean and Satterthwaite's degrees of freedom by loops over a two-way table."""
    seeds, n = right.shape
    mean = right.mean()
    images = sum(seeds * (right[:, i].mean() - mean) ** 2 for i in range(n)) / n
    between = sum(n * (right[s].mean() - mean) ** 2 for s in range(seeds)) / (seeds - 1)
    rest = sum(
        (right[s, i] - right[s].mean() - right[:, i].mean() + mean) ** 2 for s in range(seeds) for i in range(n)
    ) / ((seeds - 1) * (n - 1))
    assert between > rest, "the seeds of this table differ"
    variance = (images + between - rest) / (seeds * n)
    parts = images**2 / (n - 1) + between**2 / (seeds - 1) + rest**2 / ((seeds - 1) * (n - 1))
    return variance, (images + between - rest) ** 2 / parts


@pytest.mark.parametrize("seed", range(4))
def test_seed_group_equals_a_two_way_analysis(seed: int) -> None:
    random = np.random.default_rng(seed)
    right = random.random((3, 40)) < np.array([[0.5], [0.8], [0.65]]) + 0.2 * random.standard_normal(40)
    variance, freedom = slow_group(right)
    group, mean = accuracy_intervals.seed_group_interval(right), right.mean()
    t = stats.t.ppf(0.95, freedom)
    # Wilson's ends are the accuracies whose own standard error puts the mean t of them away.
    samples = mean * (1 - mean) / variance
    for end in (group.low, group.high):
        assert (mean - end) ** 2 == pytest.approx(t**2 * end * (1 - end) / samples)
    assert group.low < group.mean == mean < group.high


def test_seed_group_of_one_answer_is_one_run() -> None:
    right = np.arange(30) < 21
    single = accuracy_interval(21, 30)
    for seeds in (1, 4):
        group = accuracy_intervals.seed_group_interval(np.tile(right, (seeds, 1)))
        assert (group.mean, group.low, group.high) == (pytest.approx(0.7), single.low, single.high)
    sure = accuracy_intervals.seed_group_interval(np.ones((3, 30), bool))
    assert (sure.mean, sure.low, sure.high) == (1, accuracy_interval(30, 30).low, 1)


def test_seeds_that_differ_widen_the_interval() -> None:
    random = np.random.default_rng(0)
    images = random.random(400)
    alike = np.stack([images < 0.7, images < 0.71, images < 0.69])
    apart = np.stack([images < 0.7, images < 0.8, images < 0.6])
    widths = [group.high - group.low for group in map(accuracy_intervals.seed_group_interval, (alike, apart))]
    assert widths[1] > 2 * widths[0]


def test_coverage_of_few_images() -> None:
    for _, truths in coverage.true_accuracies(50):
        result = coverage.single_coverage(coverage.accuracy_interval, 50, truths)
        assert result.lowest > 0.86
        assert 0.89 < result.mean < 0.96
    paired = coverage.paired_coverage(coverage.difference_interval, 20, 0.3, coverage.true_differences(0.3))
    assert paired.lowest > 0.86
    assert 0.88 < paired.mean < 0.92


@pytest.mark.slow
@pytest.mark.parametrize("changed", coverage.CHANGED)
@pytest.mark.parametrize("n", coverage.PAIRED_SIZES)
def test_coverage_of_paired_differences(n: int, changed: float) -> None:
    ours, wald = (
        coverage.paired_coverage(interval, n, changed, coverage.true_differences(changed))
        for interval in (coverage.difference_interval, coverage.wald)
    )
    assert ours.lowest > 0.86
    # With fewer than two changed images on average no interval of this kind is exact: it is wide, not narrow.
    assert ours.mean < 0.92 or n * changed <= 2
    assert ours.lowest > wald.lowest - 0.005


@pytest.mark.slow
@pytest.mark.parametrize("n", coverage.SIZES)
def test_coverage_of_accuracies(n: int) -> None:
    for _, truths in coverage.true_accuracies(n):
        result = coverage.single_coverage(coverage.accuracy_interval, n, truths)
        assert result.lowest > (0.85 if n > 10 else 0.81)
        assert result.mean > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_coverage_of_seed_groups(seeds: int) -> None:
    for spread in (0.0, 0.2):
        result = coverage.seed_coverage(seeds, 600, spread, accuracy=0.85, trials=1000)
        assert 0.87 < result.mean < 0.96
