"""Domain similarity: the exact earth mover's distance, its jackknife, and its errors."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from zoo_cli.errors import ContractError, Undefined, UsageError
from zoo_cli.metrics.domain_similarity import domain_similarity, leave_one_out, transport
from zoo_cli.metrics.probe import Probe

from .probes import features

Array = NDArray[Any]


def slowly(distances: Array, supply: Array, demand: Array) -> float:
    """The smallest mean distance of an assignment of single grains: each of supply to one of demand."""
    total = int(supply.sum())
    assert total == demand.sum()
    rows, columns = np.repeat(np.arange(len(supply)), supply), np.repeat(np.arange(len(demand)), demand)
    cost = distances[rows][:, columns]
    return float(cost[linear_sum_assignment(cost)].sum() / total)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 5))
def test_distance_is_that_of_the_best_assignment(seed: int, sources: int, targets: int) -> None:
    draw = np.random.default_rng(seed)
    supply, demand = draw.integers(1, 7, sources), draw.integers(1, 7, targets)
    supply, demand = supply * demand.sum(), demand * supply.sum()
    distances = draw.random((sources, targets)) * 10.0 ** draw.integers(-6, 7)
    best = transport(distances, supply / supply.sum(), demand / demand.sum())
    assert best.distance == pytest.approx(slowly(distances, supply, demand), rel=1e-9)
    np.testing.assert_allclose(best.flow.sum(axis=0), demand / demand.sum(), atol=1e-12)
    np.testing.assert_allclose(best.flow.sum(axis=1), supply / supply.sum(), atol=1e-12)


def probe(sizes: tuple[int, ...] = (12, 9, 6), classes: int = 4, width: int = 5, seed: int = 0) -> Probe:
    x, y = features(sizes, width, seed=seed)
    draw = np.random.default_rng([seed, 1])
    means, counts = draw.standard_normal((classes, width)).astype(np.float32), draw.integers(5, 40, classes)
    return Probe.of(x, y, source_means=means, source_counts=counts)


def test_similarity_is_its_formula() -> None:
    source = probe()
    assert source.source_means is not None
    assert source.source_counts is not None
    ours = np.stack([source.inputs[source.target.codes == c].astype(np.float64).mean(axis=0) for c in range(3)])
    distances = np.linalg.norm(source.source_means.astype(np.float64)[:, None] - ours[None], axis=2)
    distance = slowly(distances, source.source_counts * 27, np.array([12, 9, 6]) * source.source_counts.sum())
    assert domain_similarity(source) == pytest.approx(np.exp(-0.01 * distance), rel=1e-9)
    assert domain_similarity(source, gamma=2.0) == pytest.approx(np.exp(-2 * distance), rel=1e-9)


def test_same_classes_and_shares_reach_the_ceiling() -> None:
    x, y = features((12, 9, 6), 5)
    means = np.stack([x[y == c].astype(np.float64).mean(axis=0) for c in range(3)])
    same = Probe.of(x, y, source_means=means, source_counts=np.array([24, 18, 12]))
    assert domain_similarity(same) == pytest.approx(1.0, abs=1e-12)


def test_small_and_empty_classes_are_left_out() -> None:
    x, y = features((12, 9, 6), 5)
    draw = np.random.default_rng(2)
    means, counts = draw.standard_normal((4, 5)), np.array([50, 3, 0, 20])
    whole = Probe.of(x, y, source_means=means, source_counts=counts)
    without_empty = Probe.of(x, y, source_means=means[[0, 1, 3]], source_counts=counts[[0, 1, 3]])
    large = Probe.of(x, y, source_means=means[[0, 3]], source_counts=counts[[0, 3]])
    assert domain_similarity(whole) == domain_similarity(without_empty)
    assert domain_similarity(whole, min_images=10) == domain_similarity(large) != domain_similarity(without_empty)
    with pytest.raises(Undefined, match="no_source_class"):
        domain_similarity(whole, min_images=51)


@pytest.mark.parametrize("seed", range(5))
def test_leave_one_out_is_exact_to_first_order(seed: int) -> None:
    source = probe(sizes=(30, 25, 20, 15), seed=seed)
    exact = [domain_similarity(source.take(np.delete(np.arange(90), i)), gamma=0.5) for i in range(90)]
    estimates = leave_one_out(source, gamma=0.5)
    whole = domain_similarity(source, gamma=0.5)
    assert np.corrcoef(exact, estimates)[0, 1] > 0.99
    assert np.std(estimates) == pytest.approx(np.std(exact), rel=0.05)
    assert np.abs(estimates - exact).max() < 0.2 * np.abs(np.array(exact) - whole).max()


def test_invalid_parameters_and_means_are_errors() -> None:
    source = probe()
    with pytest.raises(UsageError, match="gamma=0 is not a positive number"):
        domain_similarity(source, gamma=0.0)
    with pytest.raises(UsageError, match="min_images=-1"):
        domain_similarity(source, min_images=-1)
    x, y = features((12, 9, 6), 5)
    for means, counts, message in (
        (np.ones((4, 6)), np.ones(4), "features of width 5"),
        (np.ones((4, 5)), np.ones(3), "3 counts"),
        (np.full((1, 5), np.nan), np.ones(1), "not finite"),
        (np.ones((1, 5)), np.array([-1]), "below 0"),
    ):
        with pytest.raises(ContractError, match=message):
            domain_similarity(Probe.of(x, y, source_means=means, source_counts=counts))
