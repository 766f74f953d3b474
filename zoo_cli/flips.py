"""What a student gained and lost, sample by sample (paper 002, section 3), and how good its predictions are."""

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray
BINS = 15


def predicted(scores: Array) -> Array:
    """The predicted class (N,) of scores (N, C): the largest, and of equal ones the first in label order."""
    return np.asarray(scores.argmax(axis=1))


def compare(
    labels: Array, before: Array, after: Array, names: Sequence[str], teacher: Array | None = None
) -> dict[str, Any]:
    """Positive and negative flips between two sets of predictions, in all and class by class.

    labels, before, after, teacher: (N,) class indices. A positive flip is wrong before and right after, a negative
    flip the reverse; delta = accuracy_after - accuracy_before = (positive - negative) / n. Classes come by falling
    rate of positive flips, then of negative ones, then in label order. With a teacher: `complementary` is the share of
    samples on which the teacher is right and the student was wrong, `transferred` how many of those the student now
    has right, `transfer_rate` that count over theirs (null where the teacher has nothing to give).
    Source: Fantastic Gains (2310.17653), section 3; the sample-level transfer rate is ours.
    """
    right_before, right_after = before == labels, after == labels
    positive, negative = ~right_before & right_after, right_before & ~right_after
    n = len(labels)
    classes: list[dict[str, Any]] = [
        {
            "class": names[c],
            "n": int((labels == c).sum()),
            "positive": int(positive[labels == c].sum()),
            "negative": int(negative[labels == c].sum()),
        }
        for c in range(len(names))
        if (labels == c).any()
    ]
    classes.sort(key=lambda row: (-row["positive"] / row["n"], -row["negative"] / row["n"]))
    result: dict[str, Any] = {
        "n": n,
        "accuracy_before": float(right_before.mean()),
        "accuracy_after": float(right_after.mean()),
        "delta": (int(positive.sum()) - int(negative.sum())) / n,
        "positive": int(positive.sum()),
        "negative": int(negative.sum()),
        "positive_rate": float(positive.mean()),
        "negative_rate": float(negative.mean()),
        "classes": classes,
    }
    if teacher is not None:
        offered = (teacher == labels) & ~right_before
        transferred = int((offered & right_after).sum())
        result["complementary"] = float(offered.mean())
        result["transferred"] = transferred
        result["transfer_rate"] = transferred / int(offered.sum()) if offered.any() else None
    return result


def quality(labels: Array, logits: Array) -> dict[str, Any]:
    """How good predictions are: labels (N,), logits (N, C) or log-probabilities.

    accuracy, balanced_accuracy (mean recall of the classes that occur) and top5 (of all classes where there are fewer)
    are fractions, higher is better; nll is the mean negative log-likelihood in nats and ece the expected calibration
    error over 15 equal bins of confidence (Guo et al. 2017), lower is better. Ties count for the first class in order.
    """
    rows = np.arange(len(labels))
    z = logits.astype(np.float64)
    z = z - z.max(axis=1, keepdims=True)
    logp = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    right = predicted(logits) == labels
    true = logits[rows, labels][:, None]
    before = np.arange(logits.shape[1]) < labels[:, None]
    place = (logits > true).sum(axis=1) + ((logits == true) & before).sum(axis=1)
    confidence = np.exp(logp.max(axis=1))
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [abs(float(right[bins == b].mean() - confidence[bins == b].mean())) * (bins == b).mean() for b in set(bins)]
    return {
        "n": len(labels),
        "accuracy": float(right.mean()),
        "balanced_accuracy": float(np.mean([right[labels == c].mean() for c in np.unique(labels)])),
        "top5": float((place < 5).mean()),
        "nll": float(-logp[rows, labels].mean()),
        "ece": float(sum(gaps)),
    }
