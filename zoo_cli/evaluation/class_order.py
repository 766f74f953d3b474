"""Whether labelled images refute the order in which a network's outputs are taken for classes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import binom

Array = NDArray[Any]

FOLDS = 10
LEVEL = 0.02
"""The share of networks at chance level whose order is refuted by mistake, at most."""


@dataclass(frozen=True)
class OrderCheck:
    """How N labelled images agree with the order of the outputs as it comes, and with the order that fits them best.

    `right`: images answered right as it comes; `right_reordered`: by an order that was fitted on other images.
    `columns` (C,): the output of each class in the order fitted on all. `refuted`: the second is better, and gives
    the own class of more images a higher probability than by chance, in a sign test over those where they differ.
    """

    images: int
    right: int
    right_reordered: int
    columns: tuple[int, ...]
    refuted: bool


def check_class_order(probs: Array, labels: Array) -> OrderCheck:
    """Compare the order of the outputs with the one that fits best. Probabilities (N, C) and labels (N,)."""
    count = len(labels)
    as_it_comes = probs.argmax(axis=1) == labels
    reordered = np.zeros(count, dtype=bool)
    gain = np.zeros(count)
    # Centred, so that an output that is large for every image counts for no class.
    centred = probs - probs.mean(axis=0) if count else probs
    folds = _draw_folds(labels)
    for fold in np.unique(folds):
        tested = folds == fold
        order = _fit_order(centred[~tested], labels[~tested])
        reordered[tested] = probs[tested][:, order].argmax(axis=1) == labels[tested]
        rows = np.flatnonzero(tested)
        gain[tested] = centred[rows, order[labels[tested]]] - centred[rows, labels[tested]]
    gained, lost = int((gain > 0).sum()), int((gain < 0).sum())
    better = reordered.sum() > as_it_comes.sum()
    refuted = better and binom.sf(gained - 1, gained + lost, 0.5) <= LEVEL
    columns = tuple(map(int, _fit_order(centred, labels)))
    return OrderCheck(count, int(as_it_comes.sum()), int(reordered.sum()), columns, bool(refuted))


def _draw_folds(labels: Array) -> Array:
    """The fold (N,) of each image: every class is spread over all of them."""
    folds = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        folds[rows] = np.arange(label, label + len(rows)) % min(FOLDS, len(labels))
    return folds


def _fit_order(centred: Array, labels: Array) -> Array:
    """The output (C,) of each class, one to one, that rises most with it; the order as it comes where all are equal."""
    classes = centred.shape[1]
    rise = np.zeros((classes, classes))
    np.add.at(rise, labels, centred)
    rise += 1e-9 * max(len(centred), 1) * np.eye(classes)
    return np.asarray(linear_sum_assignment(rise, maximize=True)[1])
