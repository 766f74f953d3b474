"""RSA against a reference network: its formula, its ties, and sub-probes that reuse its ranks."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from zoo_cli import registry, specs
from zoo_cli.errors import Undefined
from zoo_cli.metrics.probe import Probe
from zoo_cli.metrics.rsa_ref import rsa_ref
from zoo_cli.ranking import uncertainty

from .probes import features, reference

Array = NDArray[Any]


def slowly(x: Array, y: Array) -> float:
    """Spearman of two lists, one entry per pair: 1 - Pearson of the raw rows, 1 for a row of equal entries."""
    lists = [[_distance(rows[i], rows[j]) for i, j in combinations(range(len(rows)), 2)] for rows in (x, y)]
    return float(spearmanr(np.round(lists[0], 11), np.round(lists[1], 11)).statistic)


def _distance(x: Array, y: Array) -> float:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 1.0
    return float(1 - np.corrcoef(x.astype(np.float64), y.astype(np.float64))[0, 1])


def probe(sizes: tuple[int, ...] = (9, 7, 5, 3), width: int = 12, seed: int = 0) -> Probe:
    x, y = features(sizes, width, seed=seed)
    return Probe.of(x, y, reference=reference(x))


@pytest.mark.parametrize("width", [3, 12, 70])
def test_rsa_ref_equals_its_formula(width: int) -> None:
    x, y = features((9, 7, 5, 3), width, seed=width)
    other = reference(x) + np.random.default_rng(0).standard_normal((24, 6))
    x[5], other[9] = x[2], other[1]  # equal rows, so that distances tie
    x[7], other[3] = 0.5, 0.0  # rows that correlate with nothing
    score = rsa_ref(Probe.of(x, y, reference=other))
    assert score == pytest.approx(slowly(x, other), rel=1e-9)
    assert 0.02 < abs(score) < 0.98


def test_columns_are_not_standardised() -> None:
    x, y = features((9, 7, 5), 8)
    wide = x * np.logspace(0, 2, 8).astype(np.float32) + 3
    other = reference(x)
    assert rsa_ref(Probe.of(wide, y, reference=other)) == pytest.approx(slowly(wide, other), rel=1e-9)
    scaled = (wide - wide.mean(axis=0)) / wide.std(axis=0)
    assert abs(rsa_ref(Probe.of(scaled, y, reference=other)) - rsa_ref(Probe.of(wide, y, reference=other))) > 0.05


def test_source_equal_to_reference_reaches_the_ceiling() -> None:
    x, y = features((9, 7, 5), 8)
    assert rsa_ref(Probe.of(x, y, reference=3 * x.astype(np.float64) + 1)) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("rows", [[0, 2, 3, 7, 9, 11, 14, 20], [20, 3, 9, 0, 14, 7, 2, 11]])
def test_sub_probe_has_the_score_of_its_own_rows(rows: list[int]) -> None:
    whole = probe()
    rsa_ref(whole)
    part = whole.take(np.array(rows))
    assert part.reference is not None
    alone = Probe.of(part.inputs, part.target, reference=part.reference)
    assert rsa_ref(part) == pytest.approx(rsa_ref(alone), abs=1e-12)
    again = part.take(np.array([0, 1, 4, 6]))
    assert again.reference is not None
    assert rsa_ref(again) == pytest.approx(slowly(again.inputs, again.reference), abs=1e-12)


def test_labels_do_not_matter_and_chance_is_zero() -> None:
    whole = probe()
    assert rsa_ref(whole) == rsa_ref(whole.with_labels(whole.target.permuted(np.arange(24)[::-1])))
    method = specs.resolve("metric", "rsa-ref")
    (estimate,) = uncertainty.estimate_scores([(method, registry.METRICS["rsa-ref"])], whole, seed=0)
    assert isinstance(estimate, uncertainty.Estimate)
    assert estimate.chance == 0.0
    assert whole.reference is not None
    draw = np.random.default_rng(1)
    shuffled = [
        rsa_ref(Probe.of(whole.inputs, whole.target, reference=draw.permutation(whole.reference))) for _ in range(200)
    ]
    assert abs(np.mean(shuffled)) < 4 * np.std(shuffled) / np.sqrt(200)
    assert estimate.value > 3 * np.std(shuffled)


def test_undefined_scores_have_a_reason() -> None:
    x, y = features((9, 7), 8)
    for inputs, other, reason in (
        (x[:2], reference(x)[:2], "too_few_examples"),
        (np.tile(x[:1], (16, 1)), reference(x), "constant_features"),
        (x, np.ones((16, 4)), "constant_reference"),
    ):
        with pytest.raises(Undefined, match=reason):
            rsa_ref(Probe.of(inputs, y[: len(inputs)], reference=other))


def test_large_probes_in_float32_have_the_same_score() -> None:
    draw = np.random.default_rng(0)
    shared = draw.standard_normal((2100, 12))
    x, other = (
        (shared @ draw.standard_normal((12, 80)) + draw.standard_normal((2100, 80))).astype(np.float32) for _ in "ab"
    )
    y = np.arange(2100) % 3
    large, rows = Probe.of(x, y, reference=other), np.arange(2000)
    assert rsa_ref(large.take(rows)) == pytest.approx(
        rsa_ref(Probe.of(x[rows], y[rows], reference=other[rows])), rel=3e-6
    )
