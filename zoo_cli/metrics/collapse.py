"""Whether a source gives every image the same: then no score of it means anything."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

COLLAPSED = "collapsed"
"""The reason why the score of such a source is undefined."""
LEAST_SPREAD = 0.01
"""The mean over the images of max_k |p_ik - mean p_k| below which the answers are the same."""
ROUNDING = 1e-5
"""Features that vary less, relative to their largest value, are constant: batches of other sizes round otherwise."""

Block = tuple[Array | None, Array | None]
"""Features (M, D) and probabilities (M, K) of some images; None for what the source does not have."""


@dataclass(frozen=True)
class OutputSummary:
    """What a source gives for N `images`.

    `answered`: how many of its classes are the most probable one of an image; None without a head. `collapsed`: the
    probabilities, or all features, are the same for all images. A softmax of one class says nothing about either.
    """

    images: int
    answered: int | None
    collapsed: bool


def summarise_outputs(blocks: Callable[[], Iterable[Block]]) -> OutputSummary:
    """The summary of outputs that `blocks()` gives block by block; it is called twice, and all columns alike."""
    images, answered, total = 0, None, None
    low: Array | None = None
    high: Array | None = None
    for features, probs in blocks():
        images += len(_first(features, probs))
        if features is not None and len(features):
            low = features.min(axis=0) if low is None else np.minimum(low, features.min(axis=0))
            high = features.max(axis=0) if high is None else np.maximum(high, features.max(axis=0))
        if probs is not None and len(probs):
            total = probs.sum(axis=0) if total is None else total + probs.sum(axis=0)
            answers = np.unique(probs.argmax(axis=1))
            answered = answers if answered is None else np.union1d(answered, answers)
    constant = low is not None and high is not None and _are_equal(low, high)
    if images < 2:
        return OutputSummary(images, None if answered is None else len(answered), collapsed=False)
    if total is not None and not (len(total) == 1 and np.allclose(total, images)):
        mean, spread = total / images, 0.0
        for _, probs in blocks():
            if probs is not None and len(probs):
                spread += float(np.abs(probs - mean).max(axis=1).sum())
        constant = constant or spread / images < LEAST_SPREAD
    return OutputSummary(images, None if answered is None else len(answered), constant)


def _are_equal(low: Array, high: Array) -> bool:
    largest = max(float(np.abs(low).max()), float(np.abs(high).max()))
    return bool((high.astype(np.float64) - low <= ROUNDING * largest).all())


def _first(*arrays: Array | None) -> Array:
    return next((array for array in arrays if array is not None), np.zeros(0))
