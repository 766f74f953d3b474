"""E-LEEP: LEEP of an ensemble of sources.

Agostinelli et al. 2022, "Transferability Metrics for Selecting Source Model Ensembles", eq. 6.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.metrics.leep import predictions
from zoo_cli.metrics.probe import Probe

Array = NDArray[Any]


def e_leep(probe: Probe) -> float:
    """Mean log-likelihood of the labels under the mean prediction of a set of sources. Higher is better.

    Of one source, as here, it is LEEP, errors included. Of several sources see `of_set`; in (-inf, 0]. A source adds to
    a set where it is right on samples on which the others are wrong.
    """
    return joined(predictions(probe)[None])


def of_set(probes: Sequence[Probe]) -> float:
    """The score of a set of S sources, each with its own classes, all on the same samples and labels."""
    return joined(np.stack([predictions(probe) for probe in probes]))


def joined(members: Array) -> float:
    """(1/N) sum_i log((1/S) sum_s members_si), members (S, N): the `leep.predictions` of each source."""
    return float(np.log(members.mean(axis=0)).mean())
