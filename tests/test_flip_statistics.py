"""Flips on a hand-written table, and identities that hold on every table."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import binomtest

from zoo_cli.evaluation import flip_statistics
from zoo_cli.evaluation.flip_statistics import ClassFlips, Uptake

# id   label  before  after  teacher   what happens
# a    0      0       0      0         kept
# b    0      1       0      0         gained, the teacher was right
# c    0      0       1      0         lost
# d    1      0       1      0         gained, the teacher was wrong
# e    1      0       0      1         wrong throughout, the teacher was right
# f    1      1       1      0         kept
# g    2      2       0      2         lost
LABELS = np.array([0, 0, 0, 1, 1, 1, 2])
BEFORE = np.array([0, 1, 0, 0, 0, 1, 2])
AFTER = np.array([0, 0, 1, 1, 0, 1, 0])
TEACHER = np.array([0, 0, 0, 0, 1, 0, 2])
NAMES = ("ant", "bee", "cat", "never seen")


def test_hand_written_table_is_counted() -> None:
    result = flip_statistics.compare_predictions(LABELS, BEFORE, AFTER, NAMES, TEACHER)
    assert (result.n, result.positive, result.negative) == (7, 2, 2)
    assert result.accuracy_before == 4 / 7
    assert result.accuracy_after == 4 / 7
    assert result.delta == 0
    assert (result.positive_rate, result.negative_rate) == (2 / 7, 2 / 7)
    assert result.uptake == Uptake(complementary=2 / 7, transferred=1, transfer_rate=0.5)


def test_classes_are_sorted_by_rate_without_empty_ones() -> None:
    flips = flip_statistics.compare_predictions(LABELS, BEFORE, AFTER, NAMES)
    assert flips.classes == (
        ClassFlips("ant", 3, 1, 1, 0),
        ClassFlips("bee", 3, 1, 0, 1),
        ClassFlips("cat", 1, 0, 1, 2),
    )


def test_a_row_has_the_uptake_last_and_class_for_name() -> None:
    flips = flip_statistics.compare_predictions(LABELS, BEFORE, AFTER, NAMES, TEACHER)
    row = flips.to_row()
    counts = ["n", "accuracy_before", "accuracy_after", "delta", "positive", "negative"]
    keys = [*counts, "positive_rate", "negative_rate", "classes"]
    assert list(row) == [*keys, "complementary", "transferred", "transfer_rate"]
    assert row["classes"][0] == {"class": "ant", "n": 3, "positive": 1, "negative": 1}
    assert list(row["classes"][0]) == ["class", "n", "positive", "negative"]
    without = flip_statistics.compare_predictions(LABELS, BEFORE, AFTER, NAMES).to_row()
    assert list(without) == keys


def test_useless_teacher_has_no_transfer_rate() -> None:
    result = flip_statistics.compare_predictions(LABELS, LABELS, AFTER, NAMES, TEACHER)
    assert result.uptake == Uptake(complementary=0, transferred=0, transfer_rate=None)


def test_ties_predict_the_first_class() -> None:
    assert flip_statistics.predicted_classes(np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 2.0]])).tolist() == [0, 1]


@given(arrays.arrays(np.int64, (4, 30), elements=st.integers(0, 4)))
def test_delta_is_the_difference_of_accuracies(table: np.ndarray) -> None:
    labels, before, after, teacher = table
    result = flip_statistics.compare_predictions(labels, before, after, list("abcde"), teacher)
    assert result.delta == (result.positive - result.negative) / 30
    assert np.isclose(result.delta, result.accuracy_after - result.accuracy_before)
    gained_by_teacher = flip_statistics.compare_predictions(labels, before, teacher, list("abcde"))
    assert result.uptake is not None
    assert result.uptake.complementary == gained_by_teacher.positive_rate
    assert sum(flips.positive for flips in result.classes) == result.positive


def test_quality_of_sure_and_uniform_predictions() -> None:
    labels = np.array([0, 0, 0, 1])
    sure = flip_statistics.prediction_quality(labels, np.where(np.eye(2)[labels] > 0, 50.0, 0.0))
    assert (sure.n, sure.accuracy, sure.balanced_accuracy, sure.top5) == (4, 1.0, 1.0, None)
    assert sure.nll < 1e-9
    assert sure.ece < 1e-9
    ignorant = flip_statistics.prediction_quality(labels, np.zeros((4, 2)))
    assert ignorant.accuracy == 0.75
    assert ignorant.balanced_accuracy == 0.5
    assert np.isclose(ignorant.nll, np.log(2))
    assert np.isclose(ignorant.ece, 0.25)


def test_top5_counts_ties_in_label_order() -> None:
    result = flip_statistics.prediction_quality(np.array([4, 5]), np.zeros((2, 8)))
    assert result.top5 == 0.5


def test_ece_equals_the_sum_over_bins() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(200, 4)) * 2, rng.integers(0, 4, 200)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (p.max(1) >= low) & (p.max(1) < low + 1 / 15)
        if inside.any():
            right = (p.argmax(1) == labels)[inside]
            expected += inside.mean() * abs(right.mean() - p.max(1)[inside].mean())
    assert np.isclose(flip_statistics.prediction_quality(labels, logits).ece, expected)


def loop(labels: np.ndarray, before: np.ndarray, after: np.ndarray, teacher: np.ndarray) -> dict[str, float]:
    """The measures, counted sample by sample."""
    counts = dict.fromkeys(("gained", "lost", "offered", "transferred", "pos", "neg", "pos_after", "neg_after"), 0)
    for label, b, a, t in zip(labels, before, after, teacher, strict=True):
        counts["gained"] += b != label and a == label
        counts["lost"] += b == label and a != label
        counts["offered"] += b != label and t == label
        counts["transferred"] += b != label and t == label and a == label
        counts["pos"] += b != label and t == label
        counts["neg"] += b == label and t != label
        counts["pos_after"] += a != label and t == label
        counts["neg_after"] += a == label and t != label
    return counts


@given(arrays.arrays(np.int64, (4, 30), elements=st.integers(0, 4)))
def test_transfer_equals_a_loop_over_samples(table: np.ndarray) -> None:
    labels, before, after, teacher = table
    expected = loop(labels, before, after, teacher)
    transfer = flip_statistics.transfer_statistics(labels, before, after)
    uptake = flip_statistics.teacher_statistics(labels, before, after, teacher)
    assert (transfer.gained, transfer.lost) == (expected["gained"], expected["lost"])
    assert (uptake.offered, uptake.transferred) == (expected["offered"], expected["transferred"])
    assert np.isclose(uptake.pos_flips_delta, (expected["pos_after"] - expected["pos"]) / 30)
    assert np.isclose(uptake.neg_flips_delta, (expected["neg_after"] - expected["neg"]) / 30)


@given(arrays.arrays(np.int64, (3, 30), elements=st.integers(0, 4)))
def test_counts_by_class_equal_a_loop(table: np.ndarray) -> None:
    labels, before, after = table
    wrong, gained = [0] * 5, [0] * 5
    for label, b, a in zip(labels, before, after, strict=True):
        wrong[label] += b != label
        gained[label] += b != label and a == label
    assert flip_statistics.errors_by_class(labels, before, 5).tolist() == wrong
    assert flip_statistics.positive_by_class(labels, before, after, 5).tolist() == gained


@given(arrays.arrays(np.int64, (4, 30), elements=st.integers(0, 4)))
def test_identities_of_a_transfer_hold(table: np.ndarray) -> None:
    labels, before, after, teacher = table
    transfer = flip_statistics.transfer_statistics(labels, before, after)
    uptake = flip_statistics.teacher_statistics(labels, before, after, teacher)
    compared = flip_statistics.compare_predictions(labels, before, after, list("abcde"), teacher)
    assert np.isclose(transfer.delta, transfer.gain - transfer.loss)
    assert transfer.delta == compared.delta
    assert np.isclose(transfer.delta, uptake.neg_flips_delta - uptake.pos_flips_delta)
    assert compared.uptake == Uptake(uptake.complementary, uptake.transferred, uptake.transfer_rate)
    against = flip_statistics.compare_predictions(labels, before, teacher, list("abcde"))
    assert np.isclose(uptake.difference, against.positive_rate - against.negative_rate)
    assert np.isclose(uptake.difference, uptake.accuracy - transfer.accuracy_before)


def test_student_equal_to_its_teacher_has_taken_all() -> None:
    uptake = flip_statistics.teacher_statistics(LABELS, BEFORE, TEACHER, TEACHER)
    assert uptake.transfer_rate == 1
    assert uptake.pos_flips_delta == -uptake.complementary


@given(st.integers(0, 60), st.integers(0, 60))
@settings(deadline=None)
def test_mcnemar_is_the_two_sided_binomial_test(gained: int, lost: int) -> None:
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert np.isclose(flip_statistics.mcnemar(gained, lost), expected)


def test_mcnemar_is_finite_for_large_counts() -> None:
    assert flip_statistics.mcnemar(26_000, 24_000) < 1e-15
    assert flip_statistics.mcnemar(25_000, 25_000) == 1


def test_outcome_needs_five_percent() -> None:
    right, wrong = np.zeros(40, int), np.ones(40, int)
    for gained, expected in ((5, "undecided"), (6, "success")):
        better = np.where(np.arange(40) < gained, 0, 1)
        assert flip_statistics.transfer_statistics(right, wrong, better).outcome == expected
        worse = np.where(np.arange(40) < gained, 1, 0)
        assert flip_statistics.transfer_statistics(right, right, worse).outcome == expected.replace(
            "success", "failure"
        )
    assert flip_statistics.transfer_statistics(right, right, right).outcome == "undecided"


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_the_smallest_level_of_rejection(p: list[float]) -> None:
    adjusted = flip_statistics.holm(p)
    assert all(a >= b for a, b in zip(adjusted, p, strict=True))
    for level in (0.01, 0.05, 0.3):
        rejected = set()
        for rank, index in enumerate(sorted(range(len(p)), key=lambda index: p[index])):
            if (len(p) - rank) * p[index] > level:
                break
            rejected.add(index)
        assert {index for index, value in enumerate(adjusted) if value <= level} == rejected
