"""Scores of many subsamples and permutations at once equal those of each by itself."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from zoo_cli import registry, specs
from zoo_cli.metrics.probe import Probe
from zoo_cli.ranking import uncertainty
from zoo_cli.ranking.replicate_scores import Scorer, score_permutations, score_subsamples

from .probes import features, one_hot

Array = NDArray[Any]

FEW = 3  # of each kind are compared
SPECS = ("hscore", "hscore:shrunk=true", "logme")


def constant_columns() -> tuple[Array, Array]:
    x, y = features((12, 9, 6), 8)
    x[:, 2] = 0.0
    x[:, 5] = x[:, 4]
    return x, y


def nearly_separated() -> tuple[Array, Array]:
    _, y = features((12, 9, 6), 8)
    return one_hot(y) + 1e-3 * np.random.default_rng(0).standard_normal((27, 3)).astype(np.float32), y


PROBES = {
    "tall": lambda: features((30, 20, 14, 1), 6),
    "nearly as wide as high": lambda: features((20, 15, 10), 33),
    "wide": lambda: features((20, 15, 10), 90),
    "far from 0": lambda: (features((20, 15, 10), 6)[0] + 30, features((20, 15, 10), 6)[1]),
    "uninformative": lambda: features((20, 15, 10), 12, apart=0.0),
    "constant columns": constant_columns,
    "nearly separated": nearly_separated,
    "repeated rows": lambda: (np.repeat(features((6, 5), 40)[0], 3, axis=0), np.repeat(features((6, 5), 40)[1], 3)),
    "few": lambda: features((2, 1, 1), 3),
}


@pytest.mark.parametrize("case", PROBES)
@pytest.mark.parametrize("spec", SPECS)
def test_many_scores_at_once_equal_each_alone(spec: str, case: str) -> None:
    method = specs.resolve("metric", spec)
    x, y = PROBES[case]()
    probe = Probe.of(x, y)
    replicates = uncertainty.draw_replicates(probe.target, seed=0)
    plain, scorer = partial(method.function, **method.params), Scorer.of(method, registry.METRICS[method.name])
    for drawn in (replicates.half_samples, replicates.four_fifth_samples):
        few = replace(drawn, parts=drawn.parts[:FEW])
        actual, expected = (score_subsamples([function], Probe.of(x, y), few) for function in (scorer, plain))
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9)
    targets = replicates.permutations[:FEW]
    actual, expected = (score_permutations([function], Probe.of(x, y), targets) for function in (scorer, plain))
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9)
