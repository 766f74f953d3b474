"""Intervals of scores that read a reference, class means or no labels have their coverage."""

import pytest

from .coverage_further import SHAPES, coverage

# The jackknife of domain-similarity assumes that class sizes vary, which equal ones do not.
ROOM = {"domain-similarity:gamma=0.1": (0.85, 1.0)}
EXPECTED = (0.85, 0.98)
SPECS = ("rsa-ref", "domain-similarity:gamma=0.1", "sparsity", "sparsity:hoyer=0.5")


@pytest.mark.parametrize("spec", SPECS)
def test_intervals_cover_the_expected_score(spec: str) -> None:
    result = coverage(spec, "equal", 100, 5, probes=200, intervals=60)
    low, high = ROOM.get(spec, EXPECTED)
    assert low <= result.share <= high
    assert 0.8 < result.width < 1.5


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spec", SPECS)
def test_intervals_cover_the_expected_score_for_any_shape(spec: str, shape: tuple[int, int]) -> None:
    result = coverage(spec, "equal", *shape, probes=300, intervals=120)
    low, high = ROOM.get(spec, EXPECTED)
    # The standard error of 120 intervals with 90 % coverage is 3 %.
    assert low - 0.03 <= result.share <= high + 0.02
