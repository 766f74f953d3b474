"""What a student gained and lost, sample by sample (paper 002, section 3), and how good its predictions are."""

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray
BINS = 15
LEVEL = 0.05
"""Two-sided level at which a transfer counts as a success or a failure."""


def predicted_classes(scores: Array) -> Array:
    """The predicted class (N,) of scores (N, C): the largest, and of equal ones the first in label order."""
    return np.asarray(scores.argmax(axis=1))


def compare_predictions(
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
    counts = (np.bincount(labels[chosen], minlength=len(names)) for chosen in (..., positive, negative))
    classes: list[dict[str, Any]] = [
        {"class": name, "n": int(here), "positive": int(gained), "negative": int(lost)}
        for name, here, gained, lost in zip(names, *counts, strict=True)
        if here
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


def positive_by_class(labels: Array, before: Array, after: Array, classes: int) -> Array:
    """Positive flips of each class (K,): samples (N,) wrong before and right after."""
    return np.bincount(labels[(before != labels) & (after == labels)], minlength=classes)


def errors_by_class(labels: Array, before: Array, classes: int) -> Array:
    """Samples of each class (K,) that are wrong: where a positive flip can be."""
    return np.bincount(labels[before != labels], minlength=classes)


def transfer_statistics(labels: Array, before: Array, after: Array) -> dict[str, Any]:
    """What a student gained and lost by a transfer, and whether that can be told from chance.

    delta = gain - loss, all in shares of the N samples; `gained` and `lost` are the counts. `p`: McNemar's exact test,
    two-sided, the binomial of gained against lost; `outcome`: success or failure where p <= 0.05, else undecided.
    Source: Fantastic Gains, section 4, which calls every delta > 0 a success; the test is ours.
    """
    n, was, now = len(labels), before == labels, after == labels
    gained, lost = int((~was & now).sum()), int((was & ~now).sum())
    delta, p = (gained - lost) / n, mcnemar(gained, lost)
    return {
        "n": n,
        "accuracy_before": float(was.mean()),
        "accuracy_after": float(now.mean()),
        "delta": delta,
        "gain": gained / n,
        "loss": lost / n,
        "gained": gained,
        "lost": lost,
        "p": p,
        "outcome": outcome(delta, p),
    }


def teacher_statistics(labels: Array, before: Array, after: Array, teacher: Array) -> dict[str, Any]:
    """A student before and after a transfer beside its teacher, sample by sample; all (N,).

    `complementary`: share of samples that the teacher had right and the student wrong; `offered` their number;
    `transferred` how many of them are right after; `transfer_rate` = transferred / offered, null where nothing was
    offered. pos_flips_delta and neg_flips_delta: the teacher's positive and negative flips of the student after, less
    those of it before, in shares of N: knowledge of the teacher taken up makes the first negative. delta of the
    transfer = neg_flips_delta - pos_flips_delta. Source: Fantastic Gains, section 4; the rate of samples is ours.
    """
    n, was, now, right = len(labels), before == labels, after == labels, teacher == labels
    offered, transferred = int((right & ~was).sum()), int((right & ~was & now).sum())
    return {
        "accuracy": float(right.mean()),
        "difference": (int(right.sum()) - int(was.sum())) / n,
        "complementary": offered / n,
        "offered": offered,
        "transferred": transferred,
        "transfer_rate": transferred / offered if offered else None,
        "pos_flips_delta": (int((right & ~now).sum()) - offered) / n,
        "neg_flips_delta": (int((~right & now).sum()) - int((~right & was).sum())) / n,
    }


def mcnemar(gained: int, lost: int) -> float:
    """The two-sided p of as uneven a split of the changed samples, each change gain or loss with equal chance.

    The exact test of McNemar (1947): twice the binomial tail of the smaller count, at most 1; 1 where nothing changed.
    """
    from scipy.special import bdtr

    return min(1.0, 2 * float(bdtr(min(gained, lost), gained + lost, 0.5))) if gained + lost else 1.0


def holm(p: Sequence[float]) -> list[float]:
    """p-values of several tests made comparable with one level for all of them (Holm 1979): never smaller."""
    adjusted, most = [0.0] * len(p), 0.0
    for place, index in enumerate(sorted(range(len(p)), key=lambda index: p[index])):
        most = max(most, min(1.0, (len(p) - place) * p[index]))
        adjusted[index] = most
    return adjusted


def outcome(delta: float, p: float) -> str:
    """success, failure or undecided."""
    if p > LEVEL:
        return "undecided"
    return "success" if delta > 0 else "failure"


def prediction_quality(labels: Array, logits: Array) -> dict[str, Any]:
    """How good predictions are: labels (N,), logits (N, C) or log-probabilities.

    accuracy, balanced_accuracy (mean recall of the classes that occur) and top5 (of all classes where there are fewer)
    are fractions, higher is better; nll is the mean negative log-likelihood in nats and ece the expected calibration
    error over 15 equal bins of confidence (Guo et al. 2017), lower is better. Ties count for the first class in order.
    """
    rows = np.arange(len(labels))
    z = logits.astype(np.float64)
    z = z - z.max(axis=1, keepdims=True)
    logp = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    right = predicted_classes(logits) == labels
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
