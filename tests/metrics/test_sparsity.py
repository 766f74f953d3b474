"""Sparsity: two measures, their mixture, and the flags for features without zeros."""

import numpy as np
import pytest

from zoo_cli.errors import Undefined, UsageError
from zoo_cli.metrics.probe import Probe
from zoo_cli.metrics.sparsity import leave_one_out, sparsity

from .probes import features


def rectified(seed: int = 0) -> Probe:
    x, y = features((9, 7, 5), 16, seed=seed)
    return Probe.of(np.maximum(x, 0), y)


def test_default_is_the_share_of_zeros() -> None:
    probe = rectified()
    zeros = sum(1 for row in probe.inputs for value in row if value == 0)
    assert sparsity(probe) == pytest.approx(zeros / probe.inputs.size, abs=1e-15)
    assert probe.notes == ["assumed"]


def test_hoyer_is_one_for_one_entry_and_zero_for_equal_ones() -> None:
    y = np.array([0, 0, 1, 1])
    single = np.eye(4, 9)
    assert sparsity(Probe.of(single, y), hoyer=1.0) == pytest.approx(1.0)
    assert sparsity(Probe.of(np.outer([1, 2, 3, 4], np.ones(9)), y), hoyer=1.0) == pytest.approx(0.0, abs=1e-15)
    row = np.array([3.0, 4.0, 0.0, 0.0])
    expected = (2 - 7 / 5) / (2 - 1)
    assert sparsity(Probe.of(np.outer([1.0, 1e-200, 1e200, 7.0], row), y), hoyer=1.0) == pytest.approx(expected)


def test_the_mixture_is_linear() -> None:
    probe = rectified()
    ends = sparsity(probe), sparsity(probe, hoyer=1.0)
    assert sparsity(probe, hoyer=0.25) == pytest.approx(0.75 * ends[0] + 0.25 * ends[1], abs=1e-15)


def test_tol_makes_small_entries_zero() -> None:
    probe = Probe.of(np.array([[0.01, -0.02, 1.0], [0.0, 2.0, 3.0], [1.0, 1.0, -0.01]]), np.array([0, 0, 1]))
    assert sparsity(probe) == pytest.approx(1 / 9)
    assert sparsity(probe, tol=0.01) == pytest.approx(3 / 9)


def test_missing_zeros_and_zero_rows_are_flagged() -> None:
    x, y = features((9, 7), 6)
    whole = Probe.of(x, y)
    assert sparsity(whole) == 0.0
    assert whole.notes == ["assumed", "no_zeros"]
    x[3] = 0
    dead = Probe.of(x, y)
    assert sparsity(dead, hoyer=1.0) == pytest.approx(
        (15 * sparsity(dead.take(np.delete(np.arange(16), 3)), hoyer=1.0) + 1) / 16
    )
    assert dead.notes == ["assumed", "zero_rows"]


def test_leave_one_out_is_exact() -> None:
    probe = rectified()
    expected = [sparsity(probe.take(np.delete(np.arange(21), i)), hoyer=0.5) for i in range(21)]
    np.testing.assert_allclose(leave_one_out(probe, hoyer=0.5), expected, atol=1e-14)


def test_labels_do_not_matter() -> None:
    probe = rectified()
    assert sparsity(probe) == sparsity(Probe.of(probe.inputs, np.zeros(21, np.int64)))


def test_invalid_parameters_and_probes_are_errors() -> None:
    probe = rectified()
    for params, message in (({"hoyer": 1.1}, "hoyer=1.1"), ({"hoyer": -0.1}, "hoyer"), ({"tol": -1.0}, "tol=-1")):
        with pytest.raises(UsageError, match=message):
            sparsity(probe, **params)
    with pytest.raises(Undefined, match="too_few_examples"):
        sparsity(probe.take(np.arange(2)))
    with pytest.raises(Undefined, match="constant_features"):
        sparsity(Probe.of(np.ones((5, 3)), np.zeros(5, np.int64)))
    with pytest.raises(Undefined, match="one_feature"):
        sparsity(Probe.of(np.arange(5.0)[:, None], np.zeros(5, np.int64)), hoyer=0.5)
