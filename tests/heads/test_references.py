"""Heads and pools against the slow implementations; leave-one-out against really leaving one label out."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from . import references as slow
from .simulated import classes_of, embedding, fit, label, pool

Array = NDArray[Any]

CLASSES = 4
COUNTS = (5, 3, 6, 1)


def task(widths: tuple[int, ...], counts: tuple[int, ...] = COUNTS, size: int = 90) -> tuple[list[Array], Array]:
    truth = classes_of(size, len(counts))
    return [embedding(truth, width, signal=0.6) for width in widths], label(truth, counts)


@pytest.mark.parametrize("width", [6, 15, 40])
@pytest.mark.parametrize("lam", [1e-3, 1.0, 30.0])
def test_ridge_is_exact_with_each_label_left_out(width: int, lam: float) -> None:
    (values,), labels = task((width,))
    head = fit(f"ridge:lam={lam},T=0.5", values, labels, CLASSES)
    kernel = slow.phi(values) @ slow.phi(values).T
    left_out = slow.softmax(slow.ridge_left_out(kernel, labels, CLASSES, lam), 0.5)
    np.testing.assert_allclose(head.leave_one_out, left_out, atol=1e-10)
    answers = slow.softmax(slow.ridge_values(kernel, labels, CLASSES, lam), 0.5)
    np.testing.assert_allclose(head.answer(values), answers, atol=1e-10)
    assert head.nll == pytest.approx(slow.nll(left_out, labels[labels >= 0]), abs=1e-9)


@pytest.mark.parametrize("width", [6, 40])
@pytest.mark.parametrize("seed", range(3))
def test_ridge_chooses_as_the_reference(width: int, seed: int) -> None:
    truth = classes_of(60, CLASSES, seed=seed)
    values, labels = embedding(truth, width, signal=0.6, seed=seed), label(truth, COUNTS, seed=seed)
    head = fit("ridge", values, labels, CLASSES)
    kernel = slow.phi(values) @ slow.phi(values).T
    assert (head.lam, head.temperature) == pytest.approx(slow.choose_ridge(kernel, labels, CLASSES))


@pytest.mark.parametrize("width", [3, 40])
def test_ncm_is_exact_with_each_label_left_out(width: int) -> None:
    (values,), labels = task((width,))
    head = fit("ncm:T=0.5", values, labels, CLASSES)
    rows = slow.phi(values)
    np.testing.assert_allclose(
        head.answer(values), slow.softmax(slow.ncm_logits(rows, labels, CLASSES, 0.5)), atol=1e-10
    )
    places = np.flatnonzero(labels >= 0)
    left_out = np.array([slow.softmax(slow.ncm_logits(rows, labels, CLASSES, 0.5, i))[i] for i in places])
    np.testing.assert_allclose(head.leave_one_out, left_out, atol=1e-10)


def test_logistic_minimises_its_loss() -> None:
    (values,), labels = task((40,), (5, 3, 6))
    for lam in (0.1, 3.0):
        head = fit(f"logistic:lam={lam}", values, labels, 3)
        known = labels >= 0
        rows = (values[known] - head.mean) * head.scale
        residual = head.answer(values[known]) - slow.one_hot(labels[known], 3)
        np.testing.assert_allclose(rows.T @ residual + lam * head.weights, 0, atol=1e-4)
        np.testing.assert_allclose(residual.sum(axis=0), 0, atol=1e-4)


def test_logistic_of_two_classes_has_the_same_loss() -> None:
    (values,), labels = task((8,), (6, 9))
    head = fit("logistic:lam=0.3", values, labels, 2)
    known = labels >= 0
    rows = (values[known] - head.mean) * head.scale
    residual = head.answer(values[known]) - slow.one_hot(labels[known], 2)
    np.testing.assert_allclose(rows.T @ residual + 0.3 * head.weights, 0, atol=1e-4)


@pytest.mark.parametrize("widths", [(3, 4), (12, 30, 8)])
@pytest.mark.parametrize("lam", [1e-3, 1.0])
def test_kernel_is_exact_with_each_label_left_out(widths: tuple[int, ...], lam: float) -> None:
    arrays, labels = task(widths)
    weights = np.arange(1.0, len(widths) + 1)
    result = pool(f"kernel:lam={lam},T=0.2", arrays, labels, CLASSES, weights=weights)
    kernel = slow.pooled_kernel(arrays, weights / weights.sum())
    answers = slow.softmax(slow.ridge_values(kernel, labels, CLASSES, lam), 0.2)
    np.testing.assert_allclose(result.probabilities, answers, atol=1e-10)
    left_out = slow.softmax(slow.ridge_left_out(kernel, labels, CLASSES, lam), 0.2)
    np.testing.assert_allclose(result.leave_one_out, left_out, atol=1e-10)


@pytest.mark.parametrize("widths", [(3, 4), (12, 30, 8), (700,)])
@pytest.mark.parametrize(("k", "a"), [(10, 0.9), (2, 0.5), (200, 0.99)])
def test_spread_is_exact_with_each_label_left_out(widths: tuple[int, ...], k: int, a: float) -> None:
    arrays, labels = task(widths)
    weights = np.full(len(widths), 1 / len(widths))
    result = pool(f"spread:k={k},a={a}", arrays, labels, CLASSES, weights=weights)
    z = slow.spreading(slow.graph(slow.pooled_kernel(arrays, weights), k), a)
    mass = slow.spread_mass(z, labels, CLASSES)
    ridge = pool("kernel", arrays, labels, CLASSES, weights=weights).probabilities
    factors = slow.mass_factors(mass, ridge, labels)
    np.testing.assert_allclose(result.probabilities, slow.share(mass * factors), atol=1e-10)
    left_out = [slow.spread_mass(z, labels, CLASSES, i)[i] * factors for i in np.flatnonzero(labels >= 0)]
    np.testing.assert_allclose(result.leave_one_out, slow.share(np.array(left_out)), atol=1e-10)


def test_product_and_logmean_follow_their_formulas() -> None:
    arrays, labels = task((12, 30))
    weights = np.array([0.3, 0.7])
    spread, kernel, product = (
        pool(name, arrays, labels, CLASSES, weights=weights) for name in ("spread", "kernel", "product")
    )
    for field in ("probabilities", "leave_one_out"):
        logits = np.log(getattr(spread, field) + 1e-3) + np.log(getattr(kernel, field) + 1e-9)
        np.testing.assert_allclose(getattr(product, field), slow.softmax(logits), atol=1e-12)
    heads = [fit("ridge", values, labels, CLASSES) for values in arrays]
    logs = [np.log(np.maximum(head.answer(x), 1e-9)) for head, x in zip(heads, arrays, strict=True)]
    logmean = pool("logmean", arrays, labels, CLASSES, weights=weights)
    np.testing.assert_allclose(logmean.probabilities, slow.softmax((logs[0] + logs[1]) / 2), atol=1e-12)


def test_weights_fall_with_the_loss() -> None:
    truth = classes_of(90, CLASSES)
    labels = label(truth, (5, 4, 5, 5))
    arrays = [embedding(truth, 12, signal=signal, seed=i) for i, signal in enumerate((1.0, 0.5, 0.0))]
    losses = np.array([fit("ridge", values, labels, CLASSES).nll for values in arrays])
    expected = np.exp(-np.sqrt(19) * (losses - losses.min()))
    result = pool("kernel", arrays, labels, CLASSES)
    np.testing.assert_allclose(result.weights, expected / expected.sum(), atol=1e-12)
    best = pool("best", arrays, labels, CLASSES)
    assert best.head == int(losses.argmin())
    assert best.nll == pytest.approx(losses.min())
