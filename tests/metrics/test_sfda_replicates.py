"""What the replicates of sfda share, and where they share nothing."""

import numpy as np
import pytest

from zoo_cli.metrics import sfda_replicates
from zoo_cli.metrics.probe import Probe
from zoo_cli.metrics.sfda import sfda
from zoo_cli.metrics.subsamples import Subsamples
from zoo_cli.ranking.uncertainty import draw_replicates

from .probes import features


@pytest.mark.parametrize("factor", [0.05, 1.0, 40.0])
def test_regular_features_share_their_products(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = features((30, 20, 14, 1), 8, apart=0.5)
    probe = Probe.of(factor * x, y)
    replicates = draw_replicates(probe.target, seed=0)
    few = Subsamples(replicates.four_fifth_samples.parts[:6], replicates.four_fifth_samples.share)
    alone = [sfda(probe.take(*part)) for part in few.parts]
    permuted = [sfda(probe.with_labels(target)) for target in replicates.permutations]
    monkeypatch.setattr(sfda_replicates, "sfda", lambda _: pytest.fail("computed by itself"))
    np.testing.assert_allclose(sfda_replicates.on_subsamples(probe, few), alone, rtol=1e-11)
    np.testing.assert_allclose(sfda_replicates.on_permutations(probe, replicates.permutations), permuted, rtol=1e-11)


@pytest.mark.parametrize("kind", ["wide", "nearly singular", "without spread within classes"])
def test_others_share_nothing(kind: str) -> None:
    x, y = features((20, 15, 10), 60 if kind == "wide" else 8)
    if kind == "nearly singular":
        x = 100 * x.astype(np.float64)
        x[:, 3] = x[:, 4] + 1e-4 * x[:, 5]
    if kind == "without spread within classes":
        x = 1e-6 * x + 10 * np.eye(8)[y]
    probe = Probe.of(x, y)
    subsamples = draw_replicates(probe.target, seed=0).four_fifth_samples
    assert sfda_replicates.on_subsamples(probe, subsamples) is None
