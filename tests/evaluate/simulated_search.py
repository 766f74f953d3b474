"""Searches of `zoo tune` on simulated students, which cost nothing to train."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import ndtri

from zoo_cli.evaluation.named_runs import LABELS_ONLY
from zoo_cli.evaluation.tuning import HoldOut, SearchResult, Trial, run_search

NAMES = tuple("abcdef")
HARDNESS = (0.7, 0.5, 0.5)
"""What makes an image hard: for every student, for those of one candidate, and for one student."""


def draw_hold_outs(labels: int, splits: int, seed: int) -> list[HoldOut]:
    """Hold-outs of a fifth of the labels."""
    count = labels // 5
    return [
        HoldOut(np.random.default_rng([seed, split]).permutation(labels)[:count], labels - count)
        for split in range(splits)
    ]


def simulate_search(
    seed: int, gains: Mapping[str, float], *, labels: int, splits: int = 20, training: float = 0.02
) -> SearchResult:
    """A search among six candidates on a task where labels only is right on 60 % of all images.

    `gains`: of candidates, over all images. `training`: the standard deviation of a student's accuracy over seeds and
    splits.
    """
    rng = np.random.default_rng(seed)
    names = (LABELS_ONLY, *NAMES)
    shared, own, single = HARDNESS
    of_every, of_one = rng.normal(size=labels), {name: rng.normal(size=labels) for name in names}
    hold_outs = draw_hold_outs(labels, splits, seed)

    def evaluate(trials: Sequence[Trial]) -> dict[Trial, np.ndarray | str]:
        right: dict[Trial, np.ndarray | str] = {}
        for trial in trials:
            rng = np.random.default_rng([seed, trial.split, names.index(trial.candidate), 1])
            rows = hold_outs[trial.split].positions
            accuracy = np.clip(0.6 + gains.get(trial.candidate, 0.0) + training * rng.normal(), 0.01, 0.99)
            hardness = (
                shared * of_every[rows] + own * of_one[trial.candidate][rows] + single * rng.normal(size=len(rows))
            )
            right[trial] = hardness < ndtri(accuracy) * math.hypot(*HARDNESS)
        return right

    return run_search(NAMES, hold_outs, evaluate)
