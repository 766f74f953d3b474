"""Which classes are taken for which."""

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Confusion:
    """`count` samples of class `true`, of which there are `of`, that are predicted as class `predicted`."""

    true: int
    predicted: int
    count: int
    of: int


def confusion_counts(labels: Array, predicted: Array, classes: int) -> Array:
    """Counts (K, K) of samples by true class (lines) and predicted class (columns), from class indices (N,) each."""
    pairs = labels * classes + predicted
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def frequent_confusions(counts: Array, most: int) -> list[Confusion]:
    """The wrong cells of counts (K, K) with the most samples, at most `most`, ties in label order."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    sizes = counts.sum(axis=1)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    cells = (np.unravel_index(cell, wrong.shape) for cell in order if wrong.flat[cell])
    return [Confusion(int(t), int(p), int(wrong[t, p]), int(sizes[t])) for t, p in cells]
