"""Flips on a table written by hand, and the identities that hold on every table."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from zoo_cli import flips

# id   label  before  after  teacher   what happens
# a    0      0       0      0         kept
# b    0      1       0      0         gained, the teacher knew
# c    0      0       1      0         lost
# d    1      0       1      0         gained, the teacher did not know
# e    1      0       0      1         wrong throughout, the teacher knew
# f    1      1       1      0         kept
# g    2      2       0      2         lost
LABELS = np.array([0, 0, 0, 1, 1, 1, 2])
BEFORE = np.array([0, 1, 0, 0, 0, 1, 2])
AFTER = np.array([0, 0, 1, 1, 0, 1, 0])
TEACHER = np.array([0, 0, 0, 0, 1, 0, 2])
NAMES = ("ant", "bee", "cat", "never seen")


def test_every_sample_of_the_hand_written_table_is_counted_as_written() -> None:
    result = flips.compare(LABELS, BEFORE, AFTER, NAMES, TEACHER)
    assert (result["n"], result["positive"], result["negative"]) == (7, 2, 2)
    assert result["accuracy_before"] == 4 / 7
    assert result["accuracy_after"] == 4 / 7
    assert result["delta"] == 0
    assert (result["positive_rate"], result["negative_rate"]) == (2 / 7, 2 / 7)
    assert result["complementary"] == 2 / 7
    assert (result["transferred"], result["transfer_rate"]) == (1, 0.5)


def test_classes_come_by_rate_of_positive_flips_and_absent_ones_not_at_all() -> None:
    classes = flips.compare(LABELS, BEFORE, AFTER, NAMES)["classes"]
    assert classes == [
        {"class": "ant", "n": 3, "positive": 1, "negative": 1},
        {"class": "bee", "n": 3, "positive": 1, "negative": 0},
        {"class": "cat", "n": 1, "positive": 0, "negative": 1},
    ]


def test_a_teacher_with_nothing_to_give_has_no_transfer_rate() -> None:
    result = flips.compare(LABELS, LABELS, AFTER, NAMES, TEACHER)
    assert result["complementary"] == 0
    assert result["transfer_rate"] is None


def test_of_equal_logits_the_first_class_in_order_is_predicted() -> None:
    assert flips.predicted(np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 2.0]])).tolist() == [0, 1]


@given(arrays.arrays(np.int64, (4, 30), elements=st.integers(0, 4)))
def test_delta_is_gained_minus_lost_and_the_difference_of_accuracies(table: np.ndarray) -> None:
    labels, before, after, teacher = table
    result = flips.compare(labels, before, after, list("abcde"), teacher)
    assert result["delta"] == (result["positive"] - result["negative"]) / 30
    assert np.isclose(result["delta"], result["accuracy_after"] - result["accuracy_before"])
    gained_by_teacher = flips.compare(labels, before, teacher, list("abcde"))
    assert result["complementary"] == gained_by_teacher["positive_rate"]
    assert sum(row["positive"] for row in result["classes"]) == result["positive"]


def test_quality_of_sure_and_of_ignorant_predictions() -> None:
    labels = np.array([0, 0, 0, 1])
    sure = flips.quality(labels, np.where(np.eye(2)[labels] > 0, 50.0, 0.0))
    assert [sure[key] for key in ("n", "accuracy", "balanced_accuracy", "top5")] == [4, 1.0, 1.0, 1.0]
    assert sure["nll"] < 1e-9
    assert sure["ece"] < 1e-9
    ignorant = flips.quality(labels, np.zeros((4, 2)))
    assert ignorant["accuracy"] == 0.75
    assert ignorant["balanced_accuracy"] == 0.5
    assert np.isclose(ignorant["nll"], np.log(2))
    assert np.isclose(ignorant["ece"], 0.25)


def test_top5_counts_ties_in_label_order() -> None:
    result = flips.quality(np.array([4, 5]), np.zeros((2, 8)))
    assert result["top5"] == 0.5


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
    assert np.isclose(flips.quality(labels, logits)["ece"], expected)
