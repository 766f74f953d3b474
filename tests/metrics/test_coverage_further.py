"""Intervals of the scores that read a reference, class means or no labels hold what they promise, too."""

import pytest

from .coverage_further import SHAPES, coverage

# The jackknife of domain-similarity counts moving class sizes in, which equal ones are not.
ROOM = {"domain-similarity:gamma=0.1": (0.85, 1.0)}
PROMISED = (0.85, 0.98)
SPECS = ("rsa-ref", "domain-similarity:gamma=0.1", "sparsity", "sparsity:hoyer=0.5")


@pytest.mark.parametrize("spec", SPECS)
def test_nine_of_ten_intervals_hold_the_expected_score(spec: str) -> None:
    found = coverage(spec, "equal", 100, 5, probes=200, intervals=60)
    low, high = ROOM.get(spec, PROMISED)
    assert low <= found.share <= high
    assert 0.8 < found.width < 1.5


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spec", SPECS)
def test_nine_of_ten_intervals_hold_the_expected_score_for_any_shape(spec: str, shape: tuple[int, int]) -> None:
    found = coverage(spec, "equal", *shape, probes=300, intervals=120)
    low, high = ROOM.get(spec, PROMISED)
    # Of 120 intervals with 90 % coverage, 3 % more or less hold by chance.
    assert low - 0.03 <= found.share <= high + 0.02
