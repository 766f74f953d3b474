"""Measures of a metric: against scipy on tables with ties, and against all orders of small tables."""

import itertools
import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from zoo_cli.errors import Undefined
from zoo_cli.evaluation import ranking_quality
from zoo_cli.evaluation.ranking_quality import RankingQuality

Array = NDArray[Any]
NAN = math.nan


def tables(most: int, *, undefined: bool = False) -> st.SearchStrategy[tuple[Array, Array]]:
    """Scores and accuracies with many ties; if `undefined`, some scores are NaN."""
    score = st.integers(-3, 3).map(float) | st.floats(-5, 5, width=32)
    row = st.tuples(st.one_of(score, st.just(NAN)) if undefined else score, st.integers(0, 4).map(lambda n: n / 5))
    return st.lists(row, min_size=2, max_size=most).map(lambda rows: (np.array(rows)[:, 0], np.array(rows)[:, 1]))


def judge(values: Array, accuracies: Array) -> dict[str, Any]:
    return asdict(ranking_quality.judge_ranking(values, accuracies))


def by_scipy(values: Array, accuracies: Array) -> tuple[float, ...]:
    functions = (stats.spearmanr, stats.pearsonr, stats.kendalltau, stats.weightedtau)
    return tuple(float(function(values, accuracies)[0]) for function in functions)


def by_loops(values: Array, accuracies: Array) -> tuple[float, ...]:
    """The definitions, pair by pair: the signs of two differences, and the weight of a pair by its two ranks."""
    n = len(values)
    pairs = [(i, j) for i in range(n) for j in range(i)]

    def sign(numbers: Array, i: int, j: int) -> float:
        return float(np.sign(numbers[i] - numbers[j]))

    def middle(numbers: Array) -> Array:
        return np.array(
            [sum(other < x for other in numbers) + sum(other == x for other in numbers) / 2 for x in numbers]
        )

    def cosine(x: Array, y: Array) -> float:
        x, y = x - x.mean(), y - y.mean()
        return float(sum(x * y) / math.sqrt(sum(x * x) * sum(y * y)))

    def tau(weights: list[float]) -> float:
        def product(x: Array, y: Array) -> float:
            return sum(w * sign(x, i, j) * sign(y, i, j) for w, (i, j) in zip(weights, pairs, strict=True))

        return product(values, accuracies) / math.sqrt(product(values, values) * product(accuracies, accuracies))

    def additive(first: Array, second: Array) -> list[float]:
        order = sorted(range(n), key=lambda i: (-first[i], -second[i]))
        return [1 / (order.index(i) + 1) + 1 / (order.index(j) + 1) for i, j in pairs]

    weighted = (tau(additive(values, accuracies)) + tau(additive(accuracies, values))) / 2
    return cosine(middle(values), middle(accuracies)), cosine(values, accuracies), tau([1.0] * len(pairs)), weighted


def orders(values: Array) -> list[tuple[int, ...]]:
    """Every order of the sources in which no score comes before a greater one, and NaN comes last."""
    keys = [-math.inf if math.isnan(value) else value for value in values]
    permutations = itertools.permutations(range(len(values)))
    return [order for order in permutations if all(keys[a] >= keys[b] for a, b in itertools.pairwise(order))]


@given(tables(30))
def test_correlations_equal_scipy_with_and_without_ties(table: tuple[Array, Array]) -> None:
    values, accuracies = table
    assume(np.ptp(values) > 1e-3)
    assume(np.ptp(accuracies) > 0)
    assert ranking_quality.correlations(values, accuracies) == pytest.approx(by_scipy(values, accuracies), abs=1e-9)


@pytest.mark.parametrize("size", [2, 3, 28, 400])
def test_correlations_of_random_tables_equal_scipy(size: int) -> None:
    draw = np.random.default_rng(size)
    for levels in (2, 5, 1000):
        values, accuracies = draw.integers(0, levels, size) - 1.5, draw.integers(0, levels, size) / levels
        values[:2], accuracies[:2] = (0.25, -0.25), (0.3, 0.7)
        assert ranking_quality.correlations(values, accuracies) == pytest.approx(
            by_scipy(values, accuracies), abs=1e-12
        )


def test_correlations_equal_their_definitions() -> None:
    draw = np.random.default_rng(0)
    for _ in range(50):
        values, accuracies = draw.integers(0, 4, 7).astype(float), draw.integers(0, 4, 7) / 4
        values[:2], accuracies[:2] = (5, 6), (0.3, 0.7)
        assert ranking_quality.correlations(values, accuracies) == pytest.approx(
            by_loops(values, accuracies), abs=1e-12
        )


def test_correlations_use_sources_with_a_score() -> None:
    values, accuracies = np.array([0.3, NAN, 0.1, 0.2, NAN]), np.array([0.9, 0.1, 0.5, 0.4, 0.95])
    assert ranking_quality.correlations(values, accuracies) == pytest.approx(
        by_scipy(values[[0, 2, 3]], np.array([9, 5, 4]))
    )
    assert judge(values, accuracies)["undefined"] == 2


def test_extreme_scores_have_correlations() -> None:
    accuracies = np.array([0.1, 0.4, 0.2, 0.8])
    for scale in (1e308, 1e-300):
        values = np.array([-1.0, 0.5, 0.0, 1.0])
        expected = by_scipy(values, accuracies)
        assert ranking_quality.correlations(values * scale, accuracies) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("values", "accuracies", "reason"),
    [
        ([0.2, NAN, NAN], [0.1, 0.2, 0.3], "fewer_than_two_scores"),
        ([0.5, 0.5, NAN], [0.1, 0.2, 0.3], "constant_scores"),
        ([0.1 + 0.2, 0.3, 0.3], [0.1, 0.2, 0.3], "constant_scores"),
        ([0.0, 0.0, 0.0], [0.1, 0.2, 0.3], "constant_scores"),
        ([0.1, 0.2, NAN], [0.7, 0.7, 0.1], "constant_accuracies"),
    ],
)
def test_undefined_correlation_has_a_reason(values: list[float], accuracies: list[float], reason: str) -> None:
    with pytest.raises(Undefined, match=f"^{reason}$"):
        ranking_quality.correlations(np.array(values), np.array(accuracies))
    row = judge(np.array(values), np.array(accuracies))
    assert [row[name] for name in ranking_quality.CORRELATIONS] == [None] * 4
    assert row["reason"] == reason
    assert None not in (row["relative_accuracy"], row["regret"], row["trials"])


@given(tables(6, undefined=True))
def test_ties_are_averaged_over_all_orders(table: tuple[Array, Array]) -> None:
    values, accuracies = table
    assume(accuracies.max() > 0)
    every, best = orders(values), np.sort(accuracies)[::-1]
    curves = [np.cumsum(accuracies[list(order)]) / np.cumsum(best) for order in every]
    np.testing.assert_allclose(
        ranking_quality.relative_accuracy(values, accuracies), np.mean(curves, axis=0), atol=1e-12
    )
    regrets = [best[0] - accuracies[order[0]] for order in every]
    assert ranking_quality.regret(values, accuracies) == pytest.approx(np.mean(regrets), abs=1e-12)
    trials = [1 + next(i for i, s in enumerate(order) if accuracies[s] == best[0]) for order in every]
    assert ranking_quality.trials(values, accuracies) == pytest.approx(np.mean(trials), abs=1e-12)


@given(tables(12, undefined=True), st.randoms(use_true_random=False))
def test_order_of_sources_does_not_matter(table: tuple[Array, Array], shuffle: Any) -> None:
    values, accuracies = table
    order = list(range(len(values)))
    shuffle.shuffle(order)
    listed, reordered = (
        judge(values, accuracies),
        judge(values[order], accuracies[order]),
    )
    assert listed == {name: pytest.approx(value, abs=1e-9) for name, value in reordered.items()}


@given(tables(12, undefined=True))
def test_every_measure_stays_within_its_range(table: tuple[Array, Array]) -> None:
    row = judge(*table)
    for name, (low, high) in ranking_quality.RANGES.items():
        assert row[name] is None or low <= row[name] <= high
    if row["relative_accuracy_at"] is not None:
        assert row["relative_accuracy_at"][-1] == pytest.approx(1)
        assert row["trials"] <= row["sources"]


def test_a_hand_written_table() -> None:
    # Order by score: b, then c and d tied, then a; e has no score. True order: b and d, c, a, e.
    values, accuracies = np.array([1.0, 4.0, 2.0, 2.0, NAN]), np.array([0.4, 0.8, 0.6, 0.8, 0.1])
    row = judge(values, accuracies)
    assert row["relative_accuracy_at"] == pytest.approx([1, 1.5 / 1.6, 1, 1, 1])
    assert row["relative_accuracy"] == pytest.approx((4 + 1.5 / 1.6) / 5)
    assert (row["sources"], row["undefined"], row["regret"], row["trials"]) == (5, 1, 0, 1)
    assert row["kendall"] == pytest.approx(4 / math.sqrt(5 * 5))


def test_a_perfect_metric_and_its_opposite() -> None:
    accuracies = np.array([0.2, 0.9, 0.5, 0.7])
    best, worst = (
        judge(accuracies**3, accuracies),
        judge(-accuracies, accuracies),
    )
    assert [best[name] for name in ("spearman", "kendall", "weighted_kendall")] == pytest.approx([1, 1, 1])
    assert [worst[name] for name in ranking_quality.CORRELATIONS] == pytest.approx([-1] * 4)
    assert (best["relative_accuracy"], best["regret"], best["trials"]) == (1, 0, 1)
    assert (worst["regret"], worst["trials"]) == (pytest.approx(0.7), 4)


def test_constant_metric_is_a_random_order() -> None:
    accuracies = np.array([0.2, 0.9, 0.5, 0.7, 0.3])
    row = judge(np.zeros(5), accuracies)
    assert row["trials"] == 3
    assert row["regret"] == pytest.approx(0.9 - accuracies.mean())
    best = np.sort(accuracies)[::-1].cumsum() / np.arange(1, 6)
    assert row["relative_accuracy_at"] == pytest.approx(list(accuracies.mean() / best))


def test_no_scores_or_no_success_is_undefined() -> None:
    for values, accuracies, reason in (
        ([NAN, NAN], [0.1, 0.2], "no_scores"),
        ([0.1, 0.2], [0.0, 0.0], "constant_accuracies"),
    ):
        row = judge(np.array(values), np.array(accuracies))
        assert row["reason"] == reason
        assert {row[name] for name in (*ranking_quality.RANGES, "relative_accuracy_at")} == {None}


def test_unit_of_accuracies_only_scales_the_regret() -> None:
    draw = np.random.default_rng(3)
    values, accuracies = draw.standard_normal(20), draw.random(20)
    fractions, percents = (
        judge(values, accuracies),
        judge(values, 100 * accuracies),
    )
    assert percents.pop("regret") == pytest.approx(100 * fractions.pop("regret"))
    assert percents == {name: pytest.approx(value) for name, value in fractions.items()}


def qualities(*regrets: float | None, spearman: float | None = 0.5, at: int = 2) -> list[RankingQuality]:
    quality = ranking_quality.judge_ranking(np.arange(at), np.arange(at) + 1.0)
    return [
        replace(quality, regret=regret, spearman=spearman, reason=None if regret else "no_scores") for regret in regrets
    ]


def test_interval_over_targets_is_students_t() -> None:
    mean = ranking_quality.mean_over_targets(qualities(0.20, 0.25, 0.31, 0.22))
    expected = stats.t.interval(0.9, 3, np.mean([0.20, 0.25, 0.31, 0.22]), stats.sem([0.20, 0.25, 0.31, 0.22]))
    assert (mean.regret_low, mean.regret_high) == pytest.approx(expected)
    assert mean.regret == pytest.approx(0.245)
    assert (mean.spearman, mean.spearman_low, mean.spearman_high) == (0.5, 0.5, 0.5)


def test_interval_is_cut_to_the_range() -> None:
    mean = ranking_quality.mean_over_targets(qualities(0.0, 0.3))
    assert (mean.regret_low, mean.regret) == (0, 0.15)
    assert mean.regret_high > 1


def test_one_target_has_no_interval() -> None:
    mean = ranking_quality.mean_over_targets(qualities(0.1))
    assert (mean.targets, mean.regret, mean.regret_low, mean.regret_high) == (1, 0.1, None, None)
    assert mean.relative_accuracy_at_low == [None, None]


def test_undefined_targets_are_left_out_of_the_mean() -> None:
    mean = ranking_quality.mean_over_targets([*qualities(0.1, 0.3), *qualities(None, spearman=None)])
    assert (mean.targets, mean.correlated, mean.regret) == (2, 2, 0.2)
    assert mean.reason == "no_scores"


def test_curve_ends_with_the_shortest_target() -> None:
    mean = ranking_quality.mean_over_targets([*qualities(0.1, at=5), *qualities(0.1, at=3)])
    assert mean.relative_accuracy_at == [1, 1, 1]


def test_probe_sets_are_averaged() -> None:
    accuracies = np.array([0.2, 0.9, 0.5])
    draws = [np.array([0.1, 0.9, 0.5]), np.array([0.9, 0.1, NAN]), np.array([NAN, NAN, NAN])]
    by_probe = [ranking_quality.judge_ranking(values, accuracies) for values in draws]
    mean = ranking_quality.mean_over_probes(by_probe)
    assert mean.spearman == pytest.approx(0)
    assert mean.regret == pytest.approx(0.35)
    assert mean.relative_accuracy_at == pytest.approx([(1 + 2 / 9) / 2, (1 + 1.1 / 1.4) / 2, 1])
    assert (mean.sources, mean.undefined, mean.reason) == (3, 3, "no_scores")
    assert ranking_quality.mean_over_probes(by_probe[:1]) == by_probe[0]


@pytest.mark.parametrize(
    ("targets", "least", "population"),
    [(3, 0.8, 800), *(pytest.param(*row, 4000, marks=pytest.mark.slow) for row in ((3, 0.8), (8, 0.84)))],
)
def test_intervals_cover_the_mean_over_all_targets(targets: int, least: float, population: int) -> None:
    draw = np.random.default_rng(targets)
    every = []
    for effect in draw.normal(0.5, 0.5, population):  # each target has its own
        values = draw.standard_normal(12)
        every.append(ranking_quality.correlations(values, effect * values + draw.standard_normal(12))[0])
    (blank,) = qualities(0.1)
    means = [
        ranking_quality.mean_over_targets([replace(blank, spearman=value) for value in values])
        for values in draw.choice(every, (400, targets))
    ]
    covered = [mean.spearman_low <= np.mean(every) <= mean.spearman_high for mean in means]  # type: ignore[operator]
    assert least <= np.mean(covered) <= 0.95
