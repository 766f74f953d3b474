"""Standardised features and labels of a task."""

import numpy as np
import pytest

from zoo_cli.errors import ContractError
from zoo_cli.heads.standardise import Features, log_ratios
from zoo_cli.heads.target_labels import TargetLabels


def test_the_kernel_has_a_mean_diagonal_of_one() -> None:
    values = np.random.default_rng(0).normal(3, 7, size=(50, 9)).astype(np.float32)
    values[:, [2, 5]] = 0.1, 1e4
    features = Features.of(values)
    phi = features.take(slice(None))
    np.testing.assert_allclose(phi.mean(axis=0), 0, atol=1e-12)
    assert (phi**2).sum(axis=1).mean() == pytest.approx(1, abs=1e-12)
    assert np.flatnonzero(features.scale == 0).tolist() == [2, 5]
    np.testing.assert_array_equal(features.standardise(values[:3]), phi[:3])


def test_rounding_errors_are_no_column() -> None:
    values = np.random.default_rng(0).normal(size=(50, 2))
    values[:, 0] = 1 + 1e-8 * values[:, 0]
    assert Features.of(values).scale[0] == 0


def test_log_ratios_have_a_floor_and_no_scale() -> None:
    probabilities = np.array([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]], dtype=np.float16)
    logs = log_ratios(probabilities)
    np.testing.assert_allclose(logs.sum(axis=1), 0, atol=1e-12)
    assert logs[0, 0] - logs[0, 2] == pytest.approx(np.log(0.5 / 1e-6))
    np.testing.assert_allclose(logs[1], log_ratios(probabilities * 2)[1], atol=1e-3)
    assert Features.of_probabilities(probabilities).width == 3
    with pytest.raises(ContractError, match="negative in row 1"):
        log_ratios(np.array([[0.5, 0.5], [-1.0, 2.0]]))


def test_labels_know_what_can_be_judged() -> None:
    targets = TargetLabels.of(np.array([3, -1, 0, 3, -1, 5], dtype=np.int8), 7)
    assert (targets.count, len(targets)) == (6, 4)
    assert targets.present.tolist() == [0, 3, 5]
    assert targets.missing.tolist() == [1, 2, 4, 6]
    assert targets.unlabelled.tolist() == [1, 4]
    assert targets.judged.tolist() == [True, False, True, False]
    assert targets.reason is None
