"""Controls: orders of the sources that know nothing of the target, which a metric has to beat."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from zoo_cli.evaluation.accuracies import Accuracies
from zoo_cli.evaluation.ranking_quality import mean_interval

RANDOM, PRIOR, PARAMETERS, DEPTH = "random", "prior", "params", "depth"
CONTROLS = (RANDOM, PARAMETERS, DEPTH, PRIOR)
DIFFERENCES = (-2.0, 2.0)
"""The range of a difference of two correlations."""


@dataclass(frozen=True)
class AgainstPrior:
    """The mean over targets of a metric's Spearman correlation less that of the prior, with its 90 % interval.

    `targets`: on how many both have one. `beats`: whether the interval lies above 0; None without an interval.
    """

    targets: int
    difference: float | None
    low: float | None
    high: float | None
    beats: bool | None


def prior_scores(accuracies: Accuracies) -> dict[str, dict[str, float]]:
    """By target and source, how accurate the source is on the *other* targets.

    The mean of its accuracies there, each less the mean of that target over sources: a source that lacks an easy target
    loses nothing by it. With an accuracy everywhere it orders sources as the plain mean does. Sources without any other
    target have none.
    """
    centred = {
        target: {source: value - math.fsum(row.values()) / len(row) for source, value in row.items()}
        for target, row in accuracies.items()
    }
    scores: dict[str, dict[str, float]] = {}
    for target, row in accuracies.items():
        scores[target] = {}
        for source in row:
            others = [centred[other][source] for other in centred if other != target and source in centred[other]]
            if others:
                scores[target][source] = math.fsum(others) / len(others)
    return scores


def compare_with_prior(metric: Mapping[str, float], prior: Mapping[str, float]) -> AgainstPrior:
    """The correlations of a metric by target, compared with those of the prior on the targets that both have."""
    shared = sorted(metric.keys() & prior.keys())
    difference, low, high = mean_interval(np.array([metric[t] - prior[t] for t in shared]), DIFFERENCES)
    return AgainstPrior(len(shared), difference, low, high, None if low is None else low > 0)
