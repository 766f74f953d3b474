"""The estimate of a pool's accuracy: its arithmetic, and its bias and coverage on simulated tasks."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from zoo_cli.heads.estimate import estimate_accuracy
from zoo_cli.heads.pooled import Pool
from zoo_cli.heads.target_labels import TargetLabels

from .simulated import classes_of, embedding, label, pool

Array = NDArray[Any]


def made_up(probabilities: Array, left_out: Array) -> Pool:
    return Pool(probabilities, left_out, np.ones(1), None, None)


def test_confidence_is_corrected_by_the_labels() -> None:
    labels = np.array([0] * 8 + [1] * 16 + [2] + [-1] * 4)
    right = np.arange(24) % 3 != 1
    answered = np.append(np.where(right, labels[:24], 1 - labels[:24]), 2)
    left_out = np.eye(3)[answered] * 0.7 + 0.1
    left_out[24] = [0.9, 0.1, 0.0]  # class 2 has a single label, which is not judged
    probabilities = np.full((29, 3), [0.6, 0.2, 0.2])
    probabilities[28] = [0.1, 0.8, 0.1]
    estimate = estimate_accuracy(made_up(probabilities, left_out), TargetLabels.of(labels, 3))
    assert estimate.confidence == pytest.approx((3 * 0.6 + 0.8) / 4)
    assert estimate.surplus == pytest.approx(2 / 3 - 0.8)
    assert estimate.accuracy == pytest.approx(0.65 + 2 / 3 - 0.8)
    spread = np.sqrt((np.var(right) * 24 + 0.5) / 24**2 + 3 / 16 * 0.2**2 / 4)
    assert estimate.low == pytest.approx(estimate.accuracy - 1.25 * 1.713872 * spread, rel=1e-6)
    assert estimate.high == pytest.approx(estimate.accuracy + 1.25 * 1.713872 * spread, rel=1e-6)


def test_scaling_the_confidence_does_not_move_the_estimate() -> None:
    """Where labelled and unlabelled images are alike, it is the leave-one-out accuracy, however sure the pool is."""
    truth = np.arange(400) % 2
    labels = np.where(np.arange(400) < 200, truth, -1)
    answered = np.where(np.arange(400) % 5 == 0, 1 - truth, truth)
    for sure in (0.51, 0.8, 0.99):
        probabilities = np.eye(2)[answered] * (2 * sure - 1) + 1 - sure
        estimate = estimate_accuracy(made_up(probabilities, probabilities[:200]), TargetLabels.of(labels, 2))
        assert estimate.accuracy == pytest.approx(0.8)


def test_right_answers_do_not_prove_certainty() -> None:
    labels = np.array([0] * 5 + [1] * 5 + [-1] * 50)
    answers = np.eye(2)[np.r_[labels[:10], np.arange(50) % 2]]
    estimate = estimate_accuracy(made_up(answers, answers[:10]), TargetLabels.of(labels, 2))
    assert (estimate.accuracy, estimate.high) == (1.0, 1.0)
    assert estimate.low is not None
    assert 0.7 < estimate.low < 0.9


def test_without_an_estimate_there_is_a_reason() -> None:
    uniform = np.full((4, 2), 0.5)
    for labels, reason in (([0, 1, -1, -1], "one_label_per_class"), ([0, 1, 0, 1], "no_unlabelled_images")):
        targets = TargetLabels.of(np.array(labels), 2)
        estimate = estimate_accuracy(made_up(uniform, uniform[: len(targets)]), targets)
        assert (estimate.accuracy, estimate.low, estimate.high) == (None, None, None)
        assert estimate.reason == reason


def test_the_interval_narrows_with_labels_and_repeats() -> None:
    truth = classes_of(600, 3)
    values = embedding(truth, 20, signal=0.4)
    widths = []
    for count in (3, 10, 40):
        labels = label(truth, (count,) * 3)
        result, targets = pool("product", [values], labels, 3), TargetLabels.of(labels, 3)
        estimate = estimate_accuracy(result, targets)
        assert estimate.low is not None
        assert estimate.high is not None
        widths.append(estimate.high - estimate.low)
        again = estimate_accuracy(result, targets)
        assert (again.accuracy, again.low, again.high) == (estimate.accuracy, estimate.low, estimate.high)
    assert widths == sorted(widths, reverse=True)


def simulate(classes: int, per_class: int, signal: float, seed: int) -> tuple[float, bool]:
    """The error of the estimate, and whether its interval covers the accuracy."""
    truth = classes_of(1200, classes, seed=seed)
    labels = label(truth, (per_class,) * classes, seed=seed)
    arrays = [embedding(truth, width, signal=signal, seed=seed) for width in (30, 60)]
    result, targets = pool("product", arrays, labels, classes), TargetLabels.of(labels, classes)
    accuracy = float((result.probabilities.argmax(axis=1) == truth)[targets.unlabelled].mean())
    estimate = estimate_accuracy(result, targets)
    assert estimate.accuracy is not None
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.accuracy - accuracy, estimate.low <= accuracy <= estimate.high


def test_the_estimate_is_near_the_accuracy() -> None:
    errors, covered = zip(*(simulate(5, 10, 0.4, seed) for seed in range(8)), strict=True)
    assert abs(np.mean(errors)) < 0.05
    assert np.mean(covered) >= 0.7


@pytest.mark.slow
def test_bias_and_coverage_on_simulated_tasks() -> None:
    """Over all tasks together."""
    results = [
        simulate(classes, per_class, signal, seed)
        for classes in (4, 10)
        for per_class in (5, 20)
        for signal in (0.25, 0.4, 0.6)
        for seed in range(20)
    ]
    errors, covered = zip(*results, strict=True)
    assert abs(np.mean(errors)) < 0.03
    assert np.mean(covered) >= 0.85
