"""What a student gained and lost, sample by sample (paper 002, section 3), and how good its predictions are."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import bdtr, log_softmax

Array = np.ndarray
BINS = 15
TOP = 5
LEVEL = 0.05
"""Two-sided level at which a transfer counts as a success or a failure."""


@dataclass(frozen=True)
class ClassFlips:
    """Flips of one class: its name, its number of samples, its positive and negative flips, and its index."""

    name: str
    n: int
    positive: int
    negative: int
    label: int

    def to_row(self) -> dict[str, Any]:
        """The counts in order, with `class` for the name."""
        return {"class": self.name, "n": self.n, "positive": self.positive, "negative": self.negative}


@dataclass(frozen=True)
class Uptake:
    """What a student took from a teacher. `complementary`: the share of samples on which the teacher is right and the
    student was wrong; `transferred`: how many of them the student has right now; `transfer_rate`: that count over the
    number of complementary samples, None if there are none."""

    complementary: float
    transferred: int
    transfer_rate: float | None


@dataclass(frozen=True)
class Flips:
    """Positive and negative flips between two sets of predictions, in total and by class. Rates are shares of n; delta
    is accuracy_after - accuracy_before = (positive - negative) / n. `uptake` is None without a teacher."""

    n: int
    accuracy_before: float
    accuracy_after: float
    delta: float
    positive: int
    negative: int
    positive_rate: float
    negative_rate: float
    classes: tuple[ClassFlips, ...]
    uptake: Uptake | None = None

    def to_row(self) -> dict[str, Any]:
        """The fields in order, with those of `uptake` last, absent without a teacher."""
        row = {**vars(self), "classes": [flips.to_row() for flips in self.classes]}
        del row["uptake"]
        return row if self.uptake is None else row | asdict(self.uptake)


@dataclass(frozen=True)
class TransferStatistics:
    """What a student gained and lost by a transfer. delta = gain - loss, all in shares of the n samples; `gained` and
    `lost` are the counts; `p` and `outcome` are those of McNemar's exact test."""

    n: int
    accuracy_before: float
    accuracy_after: float
    delta: float
    gain: float
    loss: float
    gained: int
    lost: int
    p: float
    outcome: str


@dataclass(frozen=True)
class TeacherStatistics:
    """A student before and after a transfer compared with its teacher, see `teacher_statistics`."""

    accuracy: float
    difference: float
    complementary: float
    offered: int
    transferred: int
    transfer_rate: float | None
    pos_flips_delta: float
    neg_flips_delta: float


@dataclass(frozen=True)
class PredictionQuality:
    """How good predictions are, see `prediction_quality`."""

    n: int
    accuracy: float
    balanced_accuracy: float
    top5: float | None
    nll: float
    ece: float


def predicted_classes(scores: Array) -> Array:
    """The predicted class (N,) of scores (N, C): the largest, and among equal ones the first in label order."""
    return np.asarray(scores.argmax(axis=1))


def compare_predictions(
    labels: Array, before: Array, after: Array, names: Sequence[str], teacher: Array | None = None
) -> Flips:
    """Positive and negative flips between two sets of predictions, in total and by class.

    labels, before, after, teacher: (N,) class indices. A positive flip is wrong before and right after, a negative
    flip the reverse. Classes are sorted by falling rate of positive flips, then of negative ones, then in label order;
    classes without samples are left out.
    Source: Fantastic Gains (2310.17653), section 3; the sample-level transfer rate is ours.
    """
    right_before, right_after = before == labels, after == labels
    positive, negative = ~right_before & right_after, right_before & ~right_after
    n = len(labels)
    counts = (np.bincount(labels[chosen], minlength=len(names)) for chosen in (..., positive, negative))
    classes = [
        ClassFlips(name, int(size), int(gained), int(lost), label)
        for label, (name, size, gained, lost) in enumerate(zip(names, *counts, strict=True))
        if size
    ]
    classes.sort(key=lambda flips: (-flips.positive / flips.n, -flips.negative / flips.n))
    uptake = None
    if teacher is not None:
        offered = (teacher == labels) & ~right_before
        transferred = int((offered & right_after).sum())
        rate = transferred / int(offered.sum()) if offered.any() else None
        uptake = Uptake(float(offered.mean()), transferred, rate)
    return Flips(
        n=n,
        accuracy_before=float(right_before.mean()),
        accuracy_after=float(right_after.mean()),
        delta=(int(positive.sum()) - int(negative.sum())) / n,
        positive=int(positive.sum()),
        negative=int(negative.sum()),
        positive_rate=float(positive.mean()),
        negative_rate=float(negative.mean()),
        classes=tuple(classes),
        uptake=uptake,
    )


def positive_by_class(labels: Array, before: Array, after: Array, classes: int) -> Array:
    """Positive flips of each class (K,): samples (N,) wrong before and right after."""
    return np.bincount(labels[(before != labels) & (after == labels)], minlength=classes)


def errors_by_class(labels: Array, before: Array, classes: int) -> Array:
    """Wrong samples of each class (K,): those that can become positive flips."""
    return np.bincount(labels[before != labels], minlength=classes)


def transfer_statistics(labels: Array, before: Array, after: Array) -> TransferStatistics:
    """What a student gained and lost by a transfer, and whether that differs from chance.

    labels, before, after: (N,) class indices. `p`: McNemar's exact test, two-sided, the binomial of gained against
    lost; `outcome`: success or failure if p <= 0.05, else undecided.
    Source: Fantastic Gains, section 4, which calls every delta > 0 a success; the test is ours.
    """
    n, was, now = len(labels), before == labels, after == labels
    gained, lost = int((~was & now).sum()), int((was & ~now).sum())
    delta, p = (gained - lost) / n, mcnemar(gained, lost)
    return TransferStatistics(
        n=n,
        accuracy_before=float(was.mean()),
        accuracy_after=float(now.mean()),
        delta=delta,
        gain=gained / n,
        loss=lost / n,
        gained=gained,
        lost=lost,
        p=p,
        outcome=outcome(delta, p),
    )


def teacher_statistics(labels: Array, before: Array, after: Array, teacher: Array) -> TeacherStatistics:
    """A student before and after a transfer compared with its teacher, sample by sample; all arrays (N,).

    `complementary`: share of samples that the teacher had right and the student wrong; `offered` their number;
    `transferred` how many of them are right after; `transfer_rate` = transferred / offered, None if nothing was
    offered. pos_flips_delta and neg_flips_delta: the positive and negative flips of the teacher against the student
    after, minus those against the student before, in shares of N: knowledge taken from the teacher makes the first
    negative. delta of the transfer = neg_flips_delta - pos_flips_delta.
    Source: Fantastic Gains, section 4; the sample-level rate is ours.
    """
    n, was, now, right = len(labels), before == labels, after == labels, teacher == labels
    offered, transferred = int((right & ~was).sum()), int((right & ~was & now).sum())
    return TeacherStatistics(
        accuracy=float(right.mean()),
        difference=(int(right.sum()) - int(was.sum())) / n,
        complementary=offered / n,
        offered=offered,
        transferred=transferred,
        transfer_rate=transferred / offered if offered else None,
        pos_flips_delta=(int((right & ~now).sum()) - offered) / n,
        neg_flips_delta=(int((~right & now).sum()) - int((~right & was).sum())) / n,
    )


def mcnemar(gained: int, lost: int) -> float:
    """The two-sided p of a split of the changed samples at least as uneven, if gain and loss had equal probability.

    McNemar's exact test (1947): twice the binomial tail of the smaller count, at most 1; 1 if nothing changed.
    """
    return min(1.0, 2 * float(bdtr(min(gained, lost), gained + lost, 0.5))) if gained + lost else 1.0


def holm(p: Sequence[float]) -> list[float]:
    """p-values of several tests, adjusted so that one level holds for all of them (Holm 1979): never smaller."""
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda index: p[index])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = largest
    return adjusted


def outcome(delta: float, p: float) -> str:
    """success, failure or undecided."""
    if p > LEVEL:
        return "undecided"
    return "success" if delta > 0 else "failure"


def prediction_quality(labels: Array, logits: Array) -> PredictionQuality:
    """How good predictions are: labels (N,), logits (N, C) or log-probabilities.

    accuracy, balanced_accuracy (mean recall of the classes that occur) and top5 are fractions, higher is better; top5
    is None if C <= 5, where every class is among the top 5. nll is the mean negative log-likelihood in nats and ece the
    expected calibration error over 15 equal bins of confidence (Guo et al. 2017), lower is better. Among equal logits
    the first class in label order comes first.
    """
    rows = np.arange(len(labels))
    log_probs = log_softmax(logits.astype(np.float64), axis=1)
    right = predicted_classes(logits) == labels
    true = logits[rows, labels][:, None]
    earlier = np.arange(logits.shape[1]) < labels[:, None]
    rank = (logits > true).sum(axis=1) + ((logits == true) & earlier).sum(axis=1)
    confidence = np.exp(log_probs.max(axis=1))
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [abs(float(right[bins == b].mean() - confidence[bins == b].mean())) * (bins == b).mean() for b in set(bins)]
    return PredictionQuality(
        n=len(labels),
        accuracy=float(right.mean()),
        balanced_accuracy=float(np.mean([right[labels == c].mean() for c in np.unique(labels)])),
        top5=float((rank < TOP).mean()) if logits.shape[1] > TOP else None,
        nll=float(-log_probs[rows, labels].mean()),
        ece=float(sum(gaps)),
    )
