"""The verdict in three states on hand-written tables, against a slow reference, and its error rate when simulated."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from zoo_cli.ranking import bounds, verdict
from zoo_cli.ranking.bounds import Gaps, bound_gaps, labels_to_tell, round_labels, standard_errors, within_classes
from zoo_cli.ranking.verdict import Scores, Verdict, count_labels, judge_gaps, judge_sources

B = 400
NAMES = "abcdefghij"


def replicates(values: list[float], spread: float, seed: int = 0, common: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    own = rng.standard_normal((len(values), B)) * spread
    return np.array(values)[:, None] + own + common * rng.standard_normal(B)


def scores(values: list[float], spread: float = 0.02, *, chance: float = 0.0, seed: int = 0, **keys: float) -> Scores:
    count = len(values)
    blank = np.full(count, np.nan)
    return Scores(
        np.array(values),
        replicates(values, spread, seed, **keys),
        np.full(count, chance),
        np.zeros(count),
        blank,
        blank,
    )


def judge(
    values: list[float], spread: float = 0.02, student: Scores | None = None, margin: float = 0.0, **keys: float
) -> Verdict:
    return judge_sources(NAMES[: len(values)], scores(values, spread, **keys), student, size=100, margin=margin)


def test_source_far_above_the_others_is_the_best() -> None:
    result = judge([0.5, 0.3, -0.2])
    assert (result.kind, result.names, result.fits) == ("best", ("a",), ("a", "b"))
    assert result.sentence == "a is clearly the best source; b fits too"
    assert result.fit == {"a": "yes", "b": "yes", "c": "no"}


def test_sources_within_their_uncertainty_tie() -> None:
    result = judge([0.50, 0.49, 0.2])
    assert (result.kind, result.names) == ("tie", ("a", "b"))
    assert result.sentence.startswith("a tie of a and b: ")


def test_shared_noise_does_not_make_a_tie() -> None:
    assert judge([2.50, 2.45], 0.005, common=0.2).kind == "best"


def test_sources_below_chance_do_not_fit() -> None:
    result = judge([-0.5, -0.4])
    assert (result.kind, result.names, result.sentence) == ("none", (), verdict.NONE_BEATS_CHANCE)


def test_sources_worse_than_the_student_do_not_fit() -> None:
    result = judge([0.5, 0.4], student=scores([0.7], seed=1))
    assert (result.kind, result.sentence) == ("none", verdict.NONE_BEATS_STUDENT)
    assert judge([0.5, 0.4], student=scores([0.1], seed=1)).kind == "best"


def test_one_undecided_source_is_too_few_labels() -> None:
    result = judge([0.03, -0.5, -0.4])
    assert (result.kind, result.names, result.fits) == ("unknown", ("a",), ())
    assert result.fit == {"a": "unknown", "b": "no", "c": "no"}
    assert result.sentence == (
        f"a leads, but 100 labels are too few to tell whether it fits; about {result.labels_needed['a']} would tell"
    )


def test_the_leader_is_the_best_of_all_ranked() -> None:
    table = scores([0.5, 0.3])
    wide = replace(table, draws=np.vstack([0.5 + 20 * (table.draws[0] - 0.5), table.draws[1]]))
    result = judge_sources(["a", "b"], wide, size=100)
    assert (result.kind, result.names, result.fits) == ("unknown", ("a",), ("b",))
    assert result.sentence.startswith("a leads, ")
    assert result.sentence.endswith("; b fits")


def test_the_margin_turns_small_gaps_into_no_fit() -> None:
    assert judge([0.001], 0.002).fit == {"a": "unknown"}
    assert judge([0.001], 0.002, margin=0.02).fit == {"a": "no"}
    assert judge([0.015], 0.001, margin=0.02).fit == {"a": "no"}


def test_undefined_sources_are_ignored_or_unknown() -> None:
    table = scores([0.1, 0.5])
    missing = replace(table, values=np.array([np.nan, 0.5]))
    assert judge_sources(["a", "b"], missing, size=100).fit == {"b": "yes"}
    result = judge_sources(["a"], missing.take(np.array([0])), size=100)
    assert (result.kind, result.sentence, result.fit) == ("unknown", verdict.NO_INTERVAL, {})


def test_score_without_chance_level_only_orders() -> None:
    result = judge([0.5, 0.3], chance=np.nan)
    assert (result.kind, result.names, result.fits, result.fit) == ("best", ("a",), (), {})
    assert result.sentence.endswith("(this score cannot say whether a source fits)")


def test_long_lists_are_cut() -> None:
    result = judge_sources([f"s{k}" for k in range(8)], scores([0.5] * 8), size=100)
    assert "s0, s1, s2, s3, s4 and 3 more" in result.sentence


def test_stored_errors_replace_the_spread_of_the_draws() -> None:
    table = scores([0.03])
    assert judge_sources(["a"], table, size=100).fit == {"a": "unknown"}
    small = replace(table, error=np.array([0.005]), error_half=np.array([0.01]))
    assert judge_sources(["a"], small, size=100).fit == {"a": "yes"}


def test_the_error_of_the_chance_level_counts() -> None:
    table = scores([0.06])
    assert judge_sources(["a"], table, size=100).fit == {"a": "yes"}
    assert judge_sources(["a"], replace(table, chance_error=np.array([0.1])), size=100).fit == {"a": "unknown"}


def slow_verdict(
    values: np.ndarray, draws: np.ndarray, student: float, student_draws: np.ndarray, size: int, margin: float
) -> tuple[list[str], list[int | None]]:
    """The definition source by source and replicate by replicate: chance 0, errors those of the draws."""
    states, labels = [], []
    gaps = []
    for reference, copies in ((0.0, np.zeros(B)), (student, student_draws - student)):
        deviations = [[draws[s][b] - values[s] - copies[b] for b in range(B)] for s in range(len(values))]
        spreads = [float(np.std(row)) for row in deviations]
        highest = sorted(
            max(row[b] / spread for row, spread in zip(deviations, spreads, strict=True)) for b in range(B)
        )
        lowest = sorted(
            max(-row[b] / spread for row, spread in zip(deviations, spreads, strict=True)) for b in range(B)
        )
        # The 95 % quantile between two order statistics, as numpy defines it.
        low, high = (
            q[(position := int(0.95 * (B - 1)))] + (0.95 * (B - 1) - position) * (q[position + 1] - q[position])
            for q in (highest, lowest)
        )
        gaps.append(
            [(value - reference, low * spread, high * spread) for value, spread in zip(values, spreads, strict=True)]
        )
    for pair in zip(*gaps, strict=True):
        if any(gap + high <= margin for gap, _, high in pair):
            state = "no"
        elif all(gap - low > 0 for gap, low, _ in pair):
            state = "yes"
        else:
            state = "unknown"
        states.append(state)
        # Errors on half the probe are sqrt(2) times as large: e = 0.5.
        fit = max((size * (low / gap) ** 2 if gap > 0 else math.inf) for gap, low, _ in pair)
        unfit = min((size * (high / (margin - gap)) ** 2 if margin > gap else math.inf) for gap, _, high in pair)
        count = min(fit, unfit)
        if state != "unknown" or count == math.inf:
            labels.append(None)
            continue
        digits = len(str(int(count))) - 1
        labels.append(min(math.ceil(count / 10**digits) * 10**digits, 10_000))
    return states, labels


@pytest.mark.parametrize("seed", range(12))
def test_states_and_labels_equal_the_slow_reference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.uniform(-0.1, 0.3, 6)
    table = scores(values.tolist(), 0.05, seed=seed, common=0.03)
    base = scores([0.05], 0.04, seed=seed + 100)
    states, labels = slow_verdict(values, table.draws, 0.05, base.draws[0], 60, 0.02)
    result = judge_sources(NAMES[:6], table, base, size=60, margin=0.02)
    assert [result.fit[name] for name in NAMES[:6]] == states
    assert [result.labels_needed[name] for name in NAMES[:6]] == labels
    assert result.fits == tuple(
        sorted((n for n in NAMES[:6] if result.fit[n] == "yes"), key=lambda n: -values[ord(n) - 97])
    )


def gaps(value: float, bound: float = 0.1, rate: float = 0.5) -> list[Gaps]:
    return [Gaps(*(np.array([number]) for number in (value, bound, bound, rate)))]


def test_labels_needed_is_by_hand() -> None:
    # 60 (0.1 / 0.05)^2 = 240 to fit, with e = 0.5; to exclude a gap of 0.02, 60 (0.1 / 0.03)^2 = 667.
    assert count_labels(gaps(0.05), ["unknown"], 60, 0.02) == [300]
    assert count_labels(gaps(0.05, rate=1.0), ["unknown"], 60, 0.02) == [200]
    assert count_labels(gaps(-0.01), ["unknown"], 60, 0.02) == [700]
    assert count_labels(gaps(-0.01), ["no"], 60, 0.02) == [None]
    assert count_labels(gaps(0.0001), ["unknown"], 60, 0.0) == [10_000]
    assert count_labels(gaps(0.0), ["unknown"], 60, 0.0) == [None]


def test_two_gaps_take_the_slower_to_fit_and_the_faster_not_to() -> None:
    both = [gaps(0.05)[0], gaps(0.03)[0]]
    assert count_labels(both, ["unknown"], 60, 0.0) == count_labels([both[1]], ["unknown"], 60, 0.0)
    low = [gaps(-0.05)[0], gaps(0.09)[0]]
    assert count_labels(low, ["unknown"], 60, 0.02) == count_labels([low[0]], ["unknown"], 60, 0.02)


def test_more_labels_are_needed_for_smaller_gaps_and_wider_bounds() -> None:
    values = np.linspace(0.01, 0.09, 9)
    for rate in (0.5, 0.7, 1.0):
        exact = labels_to_tell(60, values, np.full(9, 0.1), np.full(9, rate))
        assert (np.diff(exact) < 0).all()
        assert (exact >= 60).all()
        wide = labels_to_tell(60, values, np.full(9, 0.2), np.full(9, rate))
        assert (wide > exact).all()
    rounded = [round_labels(count) for count in np.linspace(1, 20_000, 500)]
    assert rounded == sorted(rounded, key=lambda count: count or 0)


def test_states_are_monotone_in_the_gap() -> None:
    order = {"no": 0, "unknown": 1, "yes": 2}
    states = [order[judge_gaps(gaps(value), 0.02)[0]] for value in np.linspace(-0.3, 0.3, 61)]
    assert states == sorted(states)
    assert set(states) == {0, 1, 2}


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (9.2, 10), (60, 60), (61, 70), (99.5, 100), (123, 200)])
def test_labels_are_rounded_up_to_one_digit(count: float, expected: int) -> None:
    assert round_labels(count) == expected


def test_rate_follows_the_errors_on_half_the_probe() -> None:
    deviations = replicates([0.0, 0.0, 0.0], 1.0)
    spread = deviations.std(axis=1)
    rate = bound_gaps(np.zeros(3), deviations, spread * np.array([1.0, 2**0.7, 4.0])).rate
    np.testing.assert_allclose(rate, [0.5, 0.7, 1.0])


def test_errors_of_pairs_fall_with_the_number_of_labels() -> None:
    # All of pairs: the interval's variance is twice the true one, and on half the probe it is four times as large.
    assert standard_errors(2.0, 1.0) == pytest.approx((1.0, 2.0))
    assert standard_errors(2.0, 0.0) == pytest.approx((math.sqrt(2), 2.0))
    assert bounds.RATES == (0.5, 1.0)


@pytest.mark.parametrize("count", [1, 10, 50])
def test_useless_sources_fit_in_5_percent_at_most(count: int) -> None:
    rng = np.random.default_rng(5)
    wrong = 0
    for trial in range(400):
        values = (rng.standard_normal(count) * 0.02).tolist()
        names = [f"s{k}" for k in range(count)]
        wrong += bool(judge_sources(names, scores(values, seed=trial), size=100).fits)
    assert wrong / 400 <= 0.075  # 0.05 plus about two standard errors of 400 trials


def test_variance_within_classes_is_that_of_class_means() -> None:
    # The mean of class means of 5 samples each, drawn by class: its variance is the mean of the classes' over 15.
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(3), 5)
    x = rng.standard_normal(15) + 10.0 * codes
    others = np.array([np.delete(x, i).mean() for i in range(15)])
    expected = np.mean([x[codes == c].var(ddof=1) for c in range(3)]) / 15
    # A sample's removal moves a mean by its deviation over N - 1; the jackknife's own factor leaves N / (N - 1).
    assert within_classes(others, codes, np.full(3, 5)) == pytest.approx(expected * 15 / 14)
    assert within_classes(others[:13], codes[:13], np.array([5, 5, 3])) is None
    assert within_classes(others[:4], np.array([0, 0, 1, 1]), np.array([2, 2])) is None


def test_few_labels_widen_bounds_to_those_of_student() -> None:
    deviations = replicates([0.0], 1.0)
    exact = bound_gaps(np.zeros(1), deviations, np.ones(1))
    assert bound_gaps(np.zeros(1), deviations, np.ones(1), 1e9).below == pytest.approx(exact.below, rel=1e-5)
    spread = deviations.std()
    few = bound_gaps(np.zeros(1), deviations, np.ones(1), 5).below / spread
    assert stats.t.sf(few, 5) == pytest.approx(stats.norm.sf(exact.below / spread))
    assert few > exact.below / spread
