"""MS-LEEP: the mean LEEP of a set of sources.

Agostinelli et al. 2022, "Transferability Metrics for Selecting Source Model Ensembles", eq. 5.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.metrics.leep import predictions
from zoo_cli.metrics.probe import Probe

Array = NDArray[Any]


def ms_leep(probe: Probe) -> float:
    """Mean over a set of sources of their LEEP. Higher is better.

    Of one source, as here, it is LEEP, errors included. Of several sources see `of_set`; in (-inf, 0]. Sets are
    compared at equal size: a mean never exceeds its best member, and the best set of a size is that of the best ones.

    The mean, where the paper's sum orders sets of one size alike.
    """
    return joined(predictions(probe)[None])


def of_set(probes: Sequence[Probe]) -> float:
    """The score of a set of S sources, each with its own classes, all on the same samples and labels."""
    return joined(np.stack([predictions(probe) for probe in probes]))


def joined(members: Array) -> float:
    """(1/S) sum_s (1/N) sum_i log members_si, members (S, N): the `leep.predictions` of each source."""
    return float(np.log(members).mean())
