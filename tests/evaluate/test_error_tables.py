"""Confusions of classes, and predictions by their confidence, against plain loops and the other measures."""

import numpy as np
import pytest

from zoo_cli.evaluation.confidence_bins import bin_confidences
from zoo_cli.evaluation.confusions import Confusion, confusion_counts, frequent_confusions
from zoo_cli.evaluation.flip_statistics import predicted_classes, prediction_quality


@pytest.fixture(scope="module")
def logits() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 2, (400, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 4, 400)


def test_confusions_count_every_pair(labels: np.ndarray, logits: np.ndarray) -> None:
    predicted = predicted_classes(logits)
    expected = [[int(((labels == t) & (predicted == p)).sum()) for p in range(5)] for t in range(5)]
    assert confusion_counts(labels, predicted, 5).tolist() == expected


def test_frequent_confusions_leave_out_right_answers() -> None:
    counts = np.array([[9, 2, 0], [0, 5, 3], [2, 0, 1]])
    assert frequent_confusions(counts, 2) == [Confusion(1, 2, 3, 8), Confusion(0, 1, 2, 11)]
    assert len(frequent_confusions(counts, 9)) == 3
    assert frequent_confusions(np.diag([1, 2]), 9) == []


def test_bins_give_the_calibration_error(labels: np.ndarray, logits: np.ndarray) -> None:
    bins = bin_confidences(labels, logits)
    filled = bins.counts > 0
    assert bins.counts.sum() == 400
    assert np.isnan(bins.accuracy[~filled]).all()
    gaps = np.abs(bins.accuracy - bins.confidence)[filled] * bins.counts[filled] / 400
    assert gaps.sum() == pytest.approx(prediction_quality(labels, logits).ece, rel=1e-9)
