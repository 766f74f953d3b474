"""MS-LEEP: the mean LEEP of an ensemble of sources.

Agostinelli et al. 2022, "Transferability Metrics for Selecting Source Model Ensembles", eq. 5.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.metrics.leep import predictions
from zoo_cli.metrics.probe import Probe

Array = NDArray[Any]


def ms_leep(probe: Probe) -> float:
    """Mean LEEP over an ensemble of sources. Higher is better.

    For a single source, as here, it equals LEEP, errors included; for several see `joined`. In (-inf, 0]. Compare
    ensembles of one size only: a mean never exceeds its best member, and the best ensemble of a size consists of the
    best sources.

    We take the mean where the paper takes the sum, which orders ensembles of one size alike.
    """
    return joined(predictions(probe)[None])


def joined(members: Array) -> float:
    """(1/S) sum_s (1/N) sum_i log members_si, members (S, N): the `leep.predictions` of each source."""
    return float(np.log(members).mean())
