"""A random score: the control experiment for any choice among sources."""

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.metrics.probe import Probe
from zoo_cli.metrics.subsamples import Subsamples

Array = NDArray[Any]


def random(probe: Probe, *, seed: int = 0) -> float:
    """A number drawn uniformly from [0, 1) by the source's name and the seed. It reads neither inputs nor labels."""
    return float(np.random.default_rng([seed, zlib.crc32(probe.name.encode())]).random())


def on_subsamples(probe: Probe, subsamples: Subsamples, *, seed: int = 0) -> Array:
    """The scores of all subsamples (H,), which are that of the probe."""
    return np.full(len(subsamples), random(probe, seed=seed))
