"""Intervals have their coverage of the expected score of a probe with the same class sizes."""

import pytest

from .coverage import SHAPES, SPECS, coverage

# The jackknife of a statistic of pairs is too wide on average (Efron and Stein 1981), by a third for equal classes.
ROOM = {"parc": (0.88, 1.0)}
EXPECTED = (0.85, 0.98)


@pytest.mark.parametrize("spec", ["parc", "cka", "lfc", "leep"])
def test_intervals_cover_the_expected_score(spec: str) -> None:
    result = coverage(spec, "equal", 100, 5, probes=250, intervals=60)
    low, high = ROOM.get(spec, EXPECTED)
    assert low <= result.share <= high
    assert 0.8 < result.width < 1.5


@pytest.mark.slow
@pytest.mark.parametrize("design", ["equal", "unequal"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spec", SPECS)
def test_intervals_cover_the_expected_score_for_any_shape(spec: str, shape: tuple[int, int], design: str) -> None:
    result = coverage(spec, design, *shape, probes=400, intervals=120)
    low, high = ROOM.get(spec, EXPECTED)
    # The standard error of 120 intervals with 90 % coverage is 3 %.
    assert low - 0.03 <= result.share <= high + 0.02
