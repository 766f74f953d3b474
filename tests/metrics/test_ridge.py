"""The best penalty of ridge is found without the errors under every penalty."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from zoo_cli.metrics import ridge
from zoo_cli.metrics.probe import Probe

from .probes import features, one_hot

Array = NDArray[Any]


def _separated() -> tuple[Array, Array]:
    _, y = features((12, 9, 6), 8)
    return one_hot(y), y


def _shuffled() -> tuple[Array, Array]:
    x, y = features((12, 9, 6), 8)
    return x, np.random.default_rng(0).permutation(y)


PROBES = {
    "tall": lambda: features((30, 20, 14, 1), 6),
    "nearly as wide as high": lambda: features((20, 15, 10), 40),
    "wide": lambda: features((20, 15, 10), 90),
    "more classes than columns": lambda: features((4,) * 9, 3),
    "separated": _separated,
    "shuffled": _shuffled,
    "wide, far apart": lambda: features((20, 15, 10), 90, apart=30.0),
}


@pytest.mark.parametrize("case", PROBES)
def test_no_penalty_that_is_left_out_is_better(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = PROBES[case]()
    value = ridge.ridge(Probe.of(x, y))
    errors = _count_penalties(monkeypatch)
    monkeypatch.setattr(ridge, "ROUNDING", np.inf)  # no bound is exact enough
    assert ridge.ridge(Probe.of(x, y)) == value
    assert len(errors) == len(ridge.PENALTIES)


def test_most_penalties_are_left_out_where_one_is_best(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = _count_penalties(monkeypatch)
    ridge.ridge(Probe.of(*features((20, 15, 10), 40)))
    assert len(errors) < len(ridge.PENALTIES) / 2


def _count_penalties(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The sums of squared errors that are computed from now on."""
    errors: list[float] = []
    plain = ridge._press

    def record(*arguments: Any) -> float:
        errors.append(plain(*arguments))
        return errors[-1]

    monkeypatch.setattr(ridge, "_press", record)
    return errors
