"""E-LEEP: LEEP of an ensemble of sources.

Agostinelli et al. 2022, "Transferability Metrics for Selecting Source Model Ensembles", eq. 6.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.metrics.leep import predictions
from zoo_cli.metrics.probe import Probe

Array = NDArray[Any]


def e_leep(probe: Probe) -> float:
    """Mean log-likelihood of the labels under the mean prediction of an ensemble of sources. Higher is better.

    For a single source, as here, it equals LEEP, errors included; for several see `joined`. In (-inf, 0]. A source
    improves an ensemble by being right on samples where the others are wrong.
    """
    return joined(predictions(probe)[None])


def joined(members: Array) -> float:
    """(1/N) sum_i log((1/S) sum_s members_si), members (S, N): the `leep.predictions` of each source."""
    return float(np.log(members.mean(axis=0)).mean())
