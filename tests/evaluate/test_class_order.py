"""An order of classes that labelled images refute, and one that they do not."""

import numpy as np
import pytest

from zoo_cli.evaluation.class_order import check_class_order

RANDOM = np.random.default_rng(0)


def answers(labels: np.ndarray, classes: int, skill: float) -> np.ndarray:
    """Probabilities (N, C) of a network of this skill, in the order of the classes."""
    logits = RANDOM.normal(size=(len(labels), classes)) + skill * np.eye(classes)[labels]
    return np.asarray(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))


@pytest.mark.parametrize(("classes", "count"), [(2, 6), (3, 9), (10, 10), (10, 200), (100, 300)])
def test_a_permuted_order_is_refuted_and_found(classes: int, count: int) -> None:
    labels = np.arange(count) % classes
    right = answers(labels, classes, 12.0)
    check = check_class_order(right, labels)
    assert (check.refuted, check.right, check.columns) == (False, count, tuple(range(classes)))
    order = np.roll(np.arange(classes), 1)
    check = check_class_order(right[:, order], labels)
    assert check.refuted
    assert check.right == 0
    assert order[list(check.columns)].tolist() == list(range(classes))


def test_two_swapped_classes_of_ten_are_refuted() -> None:
    labels = np.arange(200) % 10
    probs = answers(labels, 10, 4.0)[:, [1, 0, *range(2, 10)]]
    check = check_class_order(probs, labels)
    assert check.refuted
    assert check.columns == (1, 0, *range(2, 10))
    assert check.right < check.right_reordered


@pytest.mark.parametrize("classes", [2, 5, 20])
def test_networks_without_skill_are_seldom_refuted(classes: int) -> None:
    labels = np.arange(100) % classes
    refuted = [check_class_order(answers(labels, classes, 0.0), labels).refuted for _ in range(200)]
    assert np.mean(refuted) <= 0.05


def test_weak_networks_in_the_right_order_are_not_refuted() -> None:
    labels = np.arange(40) % 10
    refuted = [check_class_order(answers(labels, 10, 0.7), labels).refuted for _ in range(200)]
    assert np.mean(refuted) <= 0.02


def test_one_answer_for_all_refutes_nothing() -> None:
    labels = np.repeat([0, 1], [30, 10])
    constant = np.tile([0.1, 0.9], (40, 1))
    check = check_class_order(constant, labels)
    assert (check.refuted, check.columns) == (False, (0, 1))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_few_labels_refute_nothing(count: int) -> None:
    labels = np.arange(count) % 2
    assert not check_class_order(answers(labels, 2, 12.0)[:, ::-1], labels).refuted
