"""LGC is LFC of gradients; for projected ones it notes the uncertainty of the projection."""

import numpy as np
import pytest

from zoo_cli.errors import Undefined
from zoo_cli.metrics.lfc import lfc
from zoo_cli.metrics.lgc import SEEDS, lgc
from zoo_cli.metrics.probe import Array, Probe
from zoo_cli.models.projection import BLOCKS

from .probes import features


def projected(vectors: Array, size: int, seed: int) -> Array:
    """Vectors (N, P) projected by a dense matrix of signs, five blocks side by side."""
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (vectors.shape[1], size))
    return np.asarray(vectors @ signs / np.sqrt(size))


def noted_spread(probe: Probe, outputs: str) -> float:
    lgc(probe, outputs=outputs)  # type: ignore[arg-type]
    (note,) = probe.notes
    return float(note.removeprefix("projection_sd="))


def test_seeds_match_blocks_of_projection() -> None:
    assert SEEDS == BLOCKS


@pytest.mark.parametrize("outputs", ["trace", "sum"])
def test_noted_spread_is_that_over_seeds(outputs: str) -> None:
    x, y = features((10, 10, 10), 400, apart=0.5)
    values, spreads = [], []
    for seed in range(60):
        vectors = projected(x, 200, seed)
        probe = Probe.of(
            vectors if outputs == "trace" else x,
            y,
            gradients_sum=vectors if outputs == "sum" else x,
            projected_gradients=(outputs,),
        )
        spreads.append(noted_spread(probe, outputs))
        values.append(lgc(probe, outputs=outputs))  # type: ignore[arg-type]
    # Within the noise of a standard deviation estimated from four degrees of freedom, sixty times.
    assert np.sqrt(np.mean(np.square(spreads))) == pytest.approx(np.std(values), rel=0.25)
    # A projection adds noise to every entry, which lowers the correlation, by a few of its spreads at most.
    exact = lfc(Probe.of(x, y))
    assert 0 < exact - np.mean(values) < 3 * np.std(values)


def test_exact_gradients_have_no_note() -> None:
    x, y = features((10, 10, 10), 40)
    for projected_outputs in ((), ("sum",)):
        probe = Probe.of(x, y, gradients_sum=x, projected_gradients=projected_outputs)
        assert lgc(probe) == lfc(Probe.of(x, y))
        assert probe.notes == []


def test_sub_probe_scores_as_its_own_probe() -> None:
    x, y = features((10, 10, 10), 200)
    probe = Probe.of(x, y, gradients_sum=2 * x[:, :100], projected_gradients=("trace", "sum"))
    for outputs, vectors in (("trace", x), ("sum", x[:, :100])):
        lgc(probe, outputs=outputs)  # type: ignore[arg-type]
        rows = np.arange(0, 30, 2)
        part = probe.take(rows)
        assert lgc(part, outputs=outputs) == pytest.approx(lfc(Probe.of(vectors[rows], y[rows])), abs=1e-9)  # type: ignore[arg-type]
        assert part.notes == []


def test_sum_is_undefined_without_its_gradients() -> None:
    with pytest.raises(Undefined, match="no_gradients_of_sum"):
        lgc(Probe.of(*features((10, 10), 8)), outputs="sum")


def test_zero_gradients_have_no_score() -> None:
    x, y = features((10, 10), 8)
    with pytest.raises(Undefined, match="constant_features"):
        lgc(Probe.of(0 * x, y))
    with pytest.raises(Undefined, match="constant_features"):
        lgc(Probe.of(x, y, gradients_sum=0 * x), outputs="sum")
