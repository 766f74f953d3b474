"""PARC by class: classes that a source separates well have a high AUC."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo_cli.metrics.class_auc import class_auc


def slow(inputs: np.ndarray, labels: np.ndarray, c: int) -> float:
    z = (inputs - inputs.mean(0)) / inputs.std(0)
    near = np.corrcoef(z)
    same = [near[i, j] for i in range(len(z)) for j in range(i) if labels[i] == labels[j] == c]
    other = [near[i, j] for i in range(len(z)) for j in range(len(z)) if labels[i] == c != labels[j]]
    return float(np.mean([(s > o) + 0.5 * (s == o) for s in same for o in other]))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_auc_is_the_share_of_couples_of_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.array([3] * 5 + [7] * 4 + [9] * 6)
    inputs = rng.standard_normal((15, 4)) + labels[:, None] * 0.1
    auc = class_auc(inputs, labels)
    assert np.allclose(auc, [slow(inputs, labels, c) for c in (3, 7, 9)])


def test_separated_class_has_high_auc_and_single_sample_nan() -> None:
    rng = np.random.default_rng(0)
    labels = np.array([0] * 20 + [1] * 20 + [2])
    inputs = rng.standard_normal((41, 64))
    inputs[:20, :32] += 6
    auc = class_auc(inputs, labels)
    assert auc[0] > 0.99
    assert np.isnan(auc[2])
