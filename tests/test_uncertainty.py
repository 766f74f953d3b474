"""Intervals, probabilities and ranks: exact where theory is exact, and paired over sources."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from tests.marks import slow_unless
from zoo_cli import registry, specs
from zoo_cli.entries import Metric
from zoo_cli.errors import ContractError, Undefined
from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.probe import Probe
from zoo_cli.ranking import standings, uncertainty
from zoo_cli.ranking.uncertainty import Estimate

from .metrics.probes import features, score

Array = NDArray[Any]


def first_column(probe: Probe) -> float:
    """A linear statistic: the mean of one number per sample."""
    assert len(probe.inputs) == probe.size
    return float(probe.inputs[:, 0].mean())


def from_half_samples(function: Any, x: Array, y: Array, value: float) -> Estimate:
    probe = Probe.of(x, y)
    half_samples = uncertainty.draw_replicates(probe.target, seed=0).half_samples
    (scores,) = uncertainty.score_subsamples([function], probe, half_samples)
    return uncertainty.half_sample_interval(value, scores, half_samples.share, seed=0)


def estimates(names: Any, x: Array, y: Array, seed: int = 0) -> list[Any]:
    methods = [specs.resolve("metric", name) for name in names]
    metrics = [(method, registry.METRICS[method.name]) for method in methods]
    return uncertainty.estimate_scores(metrics, Probe.of(x, y), seed=seed)


def estimate(name: str, x: Array, y: Array, seed: int = 0) -> Estimate:
    (result,) = estimates([name], x, y, seed)
    assert isinstance(result, Estimate)
    return result


def chance_level(function: Any, x: Array, y: Array, count: int = 10) -> float | None:
    probe = Probe.of(x, y)
    replicates = uncertainty.draw_replicates(probe.target, seed=0, permutations=count)
    (level,) = uncertainty.chance_levels([function], probe, replicates)
    return level


def test_jackknife_of_a_mean_is_its_standard_error() -> None:
    x = np.random.default_rng(0).standard_normal(80)
    others = np.array([np.delete(x, i).mean() for i in range(80)])
    result = uncertainty.jackknife_interval(float(x.mean()), others, seed=0)
    error = x.std(ddof=1) / np.sqrt(80)
    assert result.low == pytest.approx(x.mean() - 1.6448536 * error)
    assert result.high == pytest.approx(x.mean() + 1.6448536 * error)


@pytest.mark.parametrize("sizes", [(40, 40), (51, 21, 9), (3,) * 30, (2,) * 40])
def test_half_samples_of_a_mean_have_its_standard_error(sizes: tuple[int, ...]) -> None:
    draw = np.random.default_rng(1)
    y = np.repeat(np.arange(len(sizes)), sizes)
    x = draw.standard_normal((len(y), 1))
    result = from_half_samples(first_column, x, y, float(x.mean()))
    within = sum(k * x[y == c].var() * k / (k - 1) for c, k in enumerate(sizes))
    assert result.high is not None
    assert result.high - result.value == pytest.approx(1.645 * np.sqrt(within) / len(y), rel=0.3)


@pytest.mark.parametrize("name", ["parc", "cka"])
def test_draws_match_value_and_interval(name: str) -> None:
    x, y = features((20, 15, 10), 8)
    result = estimate(name, x, y)
    assert result.value == score(name, x, y)
    assert result.low is not None
    assert result.high is not None
    assert result.draws is not None
    assert result.chance is not None
    assert result.reason is None
    assert (result.low + result.high) / 2 == pytest.approx(result.value)
    assert result.draws.shape == (200,)
    assert result.draws.dtype == np.float64
    assert result.draws.mean() == pytest.approx(result.value)
    assert 1.645 * result.draws.std() == pytest.approx((result.high - result.low) / 2, rel=0.2)


@pytest.mark.parametrize("name", ["parc", "rsa"])
def test_draws_are_paired_over_sources(name: str) -> None:
    x, y = features((20, 15, 10), 8)
    near = x + 0.1 * np.random.default_rng(9).standard_normal(x.shape)
    far = features((20, 15, 10), 8, seed=8)[0]
    draws = []
    for inputs in (x, 3 * x, near, far):
        result = estimate(name, inputs, y, seed=4)
        assert result.draws is not None
        draws.append(result.draws - result.value)
    np.testing.assert_allclose(draws[1], draws[0], atol=1e-9)
    assert np.corrcoef(draws[0], draws[2])[0, 1] > 0.8
    assert abs(np.corrcoef(draws[0], draws[3])[0, 1]) < 0.8


def test_draws_follow_the_seed() -> None:
    x, y = features((20, 15, 10), 8)
    first, same, other = (estimate("lfc", x, y, seed=seed) for seed in (1, 1, 2))
    assert first.draws is not None
    assert other.draws is not None
    assert same.draws is not None
    np.testing.assert_array_equal(first.draws, same.draws)
    assert (first.low, first.high, first.chance) == (same.low, same.high, same.chance)
    assert (first.draws != other.draws).all()
    assert first.low != other.low


def test_half_samples_hold_the_larger_half_of_every_class() -> None:
    y = np.array([5, 5, 5, 9, 9, 9, 9, 0, 2, 2])
    sizes = []

    def record_sizes(probe: Probe) -> float:
        x = probe.inputs
        assert (x[:, 1] == np.unique(y)[probe.target.codes]).all()
        assert len(set(x[:, 0])) == len(x)
        sizes.append(tuple(probe.target.counts))
        return float(x[:, 0].mean())

    x = np.stack([np.arange(10.0), y], axis=1)
    from_half_samples(record_sizes, x, y, 0.0)
    assert set(sizes) == {(1, 1, 2, 2)}


def test_singleton_classes_have_no_interval() -> None:
    x, _ = features((6,), 3)
    result = from_half_samples(first_column, x, np.arange(6), 0.5)
    assert result == uncertainty.Estimate(0.5, reason="no_class_with_two_examples")


def test_few_subsamples_widen_an_interval_by_students_quantile() -> None:
    scores = np.random.default_rng(0).standard_normal(64)
    many = uncertainty.half_sample_interval(0.0, scores, 1.0, seed=0)
    few = uncertainty.half_sample_interval(0.0, scores[:16], 1.0, seed=0)
    assert many.high == pytest.approx(stats.norm.ppf(0.95) * scores.std(ddof=1))
    assert few.high == pytest.approx(stats.t.ppf(0.95, 15) * scores[:16].std(ddof=1))


@pytest.mark.parametrize(
    ("name", "count"), [("rsa", 16), ("ridge", 16), ("sfda", 8), ("hscore", 16), ("lfc", 64), ("transrate", 64)]
)
def test_a_metric_says_how_many_subsamples_it_needs(name: str, count: int) -> None:
    replicates = uncertainty.draw_replicates(Classes.of(np.arange(40) % 4), seed=0, permutations=0)
    entry = registry.METRICS[name]
    own, drawn = replicates.subsamples_of(entry), replicates.half_samples
    assert len(own) == count
    if not entry.four_fifths:
        assert all((rows == other).all() for (rows, _), (other, _) in zip(own.parts, drawn.parts, strict=False))
    assert replicates.subsamples_of(entry) is own, "what is computed of them is kept for the next source"


@pytest.mark.parametrize(("name", "count"), [("sfda", 5), ("lfc", 10), ("rsa-ref", 0)])
def test_a_metric_says_how_many_permutations_its_chance_level_needs(name: str, count: int) -> None:
    replicates = uncertainty.draw_replicates(Classes.of(np.arange(40) % 4), seed=0)
    own = replicates.permutations_of(registry.METRICS[name])
    assert len(own) == count
    assert all(mine is drawn for mine, drawn in zip(own, replicates.permutations, strict=False))


def test_metrics_with_fewer_permutations_have_their_chance_level_from_these() -> None:
    x, y = features((10, 10, 10), 3)
    metrics = [(specs.resolve("metric", name), registry.METRICS[name]) for name in ("sfda", "lfc")]
    probe = Probe.of(x, y)
    replicates = uncertainty.draw_replicates(probe.target, seed=0)
    for (method, entry), result in zip(metrics, uncertainty.estimate_scores(metrics, probe, seed=0), strict=True):
        assert isinstance(result, uncertainty.Estimate)
        scores = [method.function(probe.with_labels(each)) for each in replicates.permutations[: entry.permutations]]
        assert result.chance == pytest.approx(np.mean(scores))
        assert result.chance_error == pytest.approx(np.std(scores, ddof=1) / np.sqrt(entry.permutations))


def test_interval_needs_most_half_samples() -> None:
    x, y = features((10, 10), 3)
    calls = itertools.count()

    def sometimes(probe: Probe, *, every: int) -> float:
        if next(calls) % every == 0:
            raise Undefined("constant_features")
        return first_column(probe)

    result = from_half_samples(lambda probe: sometimes(probe, every=1), x, y, 0.5)
    assert result == uncertainty.Estimate(0.5, reason="undefined_on_halves")
    whole = from_half_samples(first_column, x, y, 0.5)
    result = from_half_samples(lambda probe: sometimes(probe, every=8), x, y, 0.5)
    assert result.high is not None
    assert whole.high is not None
    assert result.high - 0.5 == pytest.approx(whole.high - 0.5, rel=0.2)


def test_jackknife_needs_all_scores_and_three_samples() -> None:
    assert uncertainty.jackknife_interval(0.5, np.array([0.4, np.nan, 0.5]), seed=0) == uncertainty.Estimate(
        0.5, reason="undefined_without_one_example"
    )
    assert uncertainty.jackknife_interval(0.5, np.array([0.4, 0.5]), seed=0).reason == "too_few_examples"


def test_tiny_probe_still_has_an_estimate() -> None:
    x, y = features((2, 1, 1), 4)
    for name in ("parc", "rsa", "cka"):
        result = estimate(name, x, y)
        assert np.isfinite(result.value)
        assert (result.low is None) == (result.high is None) == (result.draws is None) == (result.reason is not None)


def test_an_undefined_score_stays_undefined() -> None:
    x, y = features((5, 4), 4)
    for result in estimates(["parc", "cka"], 0 * x, y):
        assert isinstance(result, Undefined)
        assert result.reason == "constant_features"


def test_undefined_score_does_not_affect_others() -> None:
    x, y = features((5, 4), 4)
    y = np.arange(9)
    undefined, defined = estimates(["parc", "cka"], x, y)
    assert isinstance(undefined, Undefined)
    assert defined.value == estimate("cka", x, y).value


@pytest.mark.parametrize("width", slow_unless([6, 90], (90,)))
def test_metrics_together_equal_each_alone(width: int) -> None:
    x, y = features((20, 15, 10), width)
    names = [name for name, entry in registry.METRICS.items() if "features" in entry.on and not entry.needs]
    for name, together in zip(names, estimates(names, x, y), strict=True):
        alone = estimate(name, x, y)
        assert (together.reason, together.flags, together.ceiling) == (alone.reason, alone.flags, alone.ceiling)
        for key in ("value", "low", "high", "chance"):
            actual, expected = getattr(together, key), getattr(alone, key)
            assert (actual is None) == (expected is None)
            assert actual is None or actual == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("width", [6, 90])
@pytest.mark.parametrize("name", ["cka", "cka:debiased=true", "lfc", "lfc:offdiag=true", "parc", "rsa"])
def test_sub_probe_has_the_score_of_its_samples_alone(name: str, width: int) -> None:
    x, y = features((20, 15, 10), width)
    rows = np.random.default_rng(0).permutation(45)[:30]
    method, whole = specs.resolve("metric", name), Probe.of(x + 3, y)
    method.function(whole, **method.params)
    expected = score(name, (x + 3)[rows], y[rows])
    assert method.function(whole.take(rows), **method.params) == pytest.approx(expected, abs=1e-9)


def test_constant_score_has_no_interval() -> None:
    x, y = features((10, 10), 3)
    assert from_half_samples(lambda _: 0.7, x, y, 0.5).reason == "constant_on_halves"


def test_a_score_at_its_ceiling_is_flagged() -> None:
    y = np.repeat([0, 1, 2], 6)
    result = estimate("cka", np.eye(3)[y], y)
    assert result.ceiling == 1.0
    assert result.flags == ("saturated",)
    x, y = features((8, 6, 4), 5)
    result = estimate("parc", x, y)
    assert result.flags == ()
    assert result.ceiling == pytest.approx(score("parc", x, y) / score("parc", x, y, normalized=True))


def test_notes_of_a_metric_become_flags() -> None:
    def noting(probe: Probe) -> float:
        probe.notes.append("zero_rows")
        return first_column(probe)

    x, y = features((8, 6), 3)
    method = specs.Method("noting", {}, noting)
    (result,) = uncertainty.estimate_scores([(method, Metric("", ""))], Probe.of(x, y), seed=0)
    assert isinstance(result, Estimate)
    assert result.flags == ("zero_rows",)


def test_chance_level_is_the_mean_under_permuted_labels() -> None:
    x, y = features((20, 20), 2)
    size, zero = len(y), (y == 0)

    def product(probe: Probe) -> float:
        return float((probe.inputs[:, 0] * (probe.target.codes == 0)).mean())

    expected = x[:, 0].mean() * zero.mean()
    spread = x[:, 0].std() * zero.std() / np.sqrt(size)
    level = chance_level(product, x, y, count=400)
    assert level == pytest.approx(expected, abs=5 * spread / 20)


def test_undefined_score_has_no_chance_level() -> None:
    def never(_: Probe) -> float:
        raise Undefined("single_class")

    assert chance_level(never, np.zeros((4, 1)), np.arange(4)) is None


def test_best_probability_counts_paired_draws() -> None:
    draws = np.array([[1.0, 2.0, 3.0, 0.0], [1.0, 1.0, 4.0, 0.0], [0.0, 1.0, 1.0, 0.0], [np.nan] * 4])
    np.testing.assert_allclose(
        standings.best_probability(draws), [(0.5 + 1 + 1 / 3) / 4, (0.5 + 1 + 1 / 3) / 4, 1 / 12, 0]
    )
    np.testing.assert_array_equal(standings.best_probability(np.full((2, 3), np.nan)), [0, 0])
    np.testing.assert_array_equal(standings.best_probability(np.zeros((1, 3))), [1])


def test_ties_share_a_rank_and_undefined_is_last() -> None:
    np.testing.assert_array_equal(standings.competition_ranks(np.array([0.1, 0.4, 0.2, 0.2])), [4, 1, 2, 2])
    np.testing.assert_array_equal(standings.competition_ranks(np.array([np.nan, 0.4, -1.0, np.nan])), [3, 1, 2, 3])
    np.testing.assert_array_equal(standings.competition_ranks(np.array([np.nan])), [1])


@settings(deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=20))
def test_a_rank_is_one_more_than_the_number_of_better_ones(values: list[int]) -> None:
    ranks = standings.competition_ranks(np.array(values, dtype=float))
    assert ranks.tolist() == [1 + sum(other > value for other in values) for value in values]


@settings(deadline=None)
@given(st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=20))
def test_effective_number_ignores_the_scale(weights: list[float]) -> None:
    number = standings.effective_number(np.array(weights))
    assert 1 - 1e-9 <= number <= len(weights) + 1e-9
    assert standings.effective_number(7 * np.array(weights)) == pytest.approx(number)


def test_effective_number_of_equal_and_single_weights() -> None:
    assert standings.effective_number(np.full(7, 1 / 7)) == pytest.approx(7)
    assert standings.effective_number(np.array([0, 1.0, 0])) == 1
    for wrong in ([0.0, 0.0], [0.5, -0.1], [np.nan, 1.0]):
        with pytest.raises(ContractError):
            standings.effective_number(np.array(wrong))


def test_beats_is_a_share_of_paired_replicates() -> None:
    draws = np.array([[1.0, 1.0, 3.0, 2.0], [0.0, 2.0, 1.0, 2.0], [np.nan] * 4])
    shares = standings.beats(draws)
    assert shares[0, 1] == (1 + 0 + 1 + 0.5) / 4
    assert shares[1, 0] == 1 - shares[0, 1]
    assert np.isnan(shares[2]).all()
    assert np.isnan(shares[:, 2]).all()


def test_beats_and_rank_intervals_count_each_pair() -> None:
    draws = np.random.default_rng(0).integers(0, 4, (9, 30)).astype(float)
    draws[[2, 5]] = np.nan
    shares, intervals = standings.beats(draws), standings.rank_intervals(draws)
    defined = [0, 1, 3, 4, 6, 7, 8]
    for a in defined:
        ranks = [1 + sum(draws[b, i] > draws[a, i] for b in defined) for i in range(30)]
        assert intervals[a].tolist() == np.quantile(ranks, [0.05, 0.95], method="nearest").tolist()
        for b in defined:
            expected = ((draws[a] > draws[b]) + 0.5 * (draws[a] == draws[b])).mean()
            assert shares[a, b] == expected or (a == b and np.isnan(shares[a, b]))
    assert np.isnan(shares[[2, 5]]).all()
    assert np.isnan(shares[:, [2, 5]]).all()


def test_rank_intervals_cover_90_percent_of_replicates() -> None:
    rng = np.random.default_rng(0)
    draws = np.array([3.0, 1.0, 1.0])[:, None] + 0.1 * rng.standard_normal((3, 500))
    assert standings.rank_intervals(draws).tolist() == [[1, 1], [2, 3], [2, 3]]
    lacking = np.vstack([draws, np.full((1, 500), np.nan)])
    assert np.isnan(standings.rank_intervals(lacking)[3]).all()
    assert standings.rank_intervals(lacking)[:3].tolist() == [[1, 1], [2, 3], [2, 3]]
