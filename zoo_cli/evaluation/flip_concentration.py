"""How positive flips concentrate: in how few classes, whether by chance, and how similar those classes are.

Source: Fantastic Gains (2310.17653), section 3 and its supplementary material. Counts (K,) are of positive flips, one
per class, over the K classes that occur among the samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
SHARES = (2, 5, 20, 50, 100)
"""The X of "the classes that hold X % of the flips"."""
DRAWS = 1000


@dataclass(frozen=True)
class ChanceComparison:
    """A value beside random draws: their `mean` and 95 % interval, and the share `p` of draws, the value counted among
    them, that are at least as extreme."""

    value: float
    mean: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class RankedComparison(ChanceComparison):
    """As ChanceComparison; `percentile`: the percentage of the draws that are smaller, ties counting half."""

    percentile: float


@dataclass(frozen=True)
class Concentration:
    """Positive flips over `classes` classes beside `draws` random ones: the `entropy` of their spread, and `half`, the
    number of classes that hold half of them. Both are lower the more they concentrate."""

    flips: int
    errors: int
    classes: int
    draws: int
    entropy: ChanceComparison
    half: ChanceComparison


@dataclass(frozen=True)
class SetSimilarity:
    """The `mean` and the largest, `max`, cosine between two classes of a set, beside random sets of its size."""

    mean: RankedComparison
    max: RankedComparison


@dataclass(frozen=True)
class ClassUptake:
    """What a student took from a teacher in the `classes` (k,), indices, that hold `share` % of what was offered."""

    share: float
    count: int
    offered: int
    transferred: int
    gained: int
    transfer_rate: float | None
    class_transfer_rate: float | None
    classes: Array


def smallest_set(counts: Array, share: float) -> Array:
    """The smallest set of classes that holds at least `share` % of the flips: class indices (k,), most flips first.

    Classes with equal counts are in label order. Empty if nothing flipped. The reference code counts one class more,
    k + 1; this is the smallest set.
    """
    return np.argsort(-counts, kind="stable")[: int(_sizes(-np.sort(-counts), share))]


def entropy(counts: Array) -> Array:
    """How evenly flips (…, K) are spread over classes (…): 0 if all are in one class, 1 if all classes have as many.

    Shannon's entropy of the shares over log K; the reference does not divide. NaN if nothing flipped or there is only
    one class.
    """
    # Sorted, so that the order of the counts does not change a bit of the result.
    return _entropy(-np.sort(-np.asarray(counts), axis=-1))


def concentration(counts: Array, errors: Array, *, seed: int = 0) -> Concentration | None:
    """Whether flips lie in fewer classes than expected by chance.

    counts (K,): positive flips, out of errors (K,) that the student made before. Under chance as many of the errors are
    corrected, each with equal probability: draws without replacement, so that no class has more flips than errors
    (multivariate hypergeometric; "in proportion to the student's errors"). `entropy` as above, and `half`, the number
    of classes that hold half of the flips; each with its mean and 95 % interval over the 1,000 draws and
    p = (1 + draws at most as high) / 1,001. None if nothing flipped or there is one class.
    """
    flips = int(counts.sum())
    if not flips or len(counts) < 2:
        return None
    if (counts > errors).any():
        raise AssertionError("more flips than errors in a class")
    generator = np.random.default_rng(seed)
    random_counts = generator.multivariate_hypergeometric(errors, flips, size=DRAWS, method="marginals")
    both = -np.sort(-np.concatenate([counts[None], random_counts]), axis=1)
    evenness, half = _entropy(both), _sizes(both, 50)
    return Concentration(
        flips=flips,
        errors=int(errors.sum()),
        classes=len(counts),
        draws=DRAWS,
        entropy=_compare_low(evenness[0], evenness[1:]),
        half=_compare_low(half[0], half[1:]),
    )


def set_similarity(groups: Sequence[Array], vectors: Array, *, seed: int = 0) -> list[SetSimilarity | None]:
    """How similar the classes of each group are: the mean and the largest cosine between two of its classes.

    groups: class indices (k,) each; vectors (K, D), none of them zero. Both with their mean and 95 % interval over
    1,000 random groups of as many of the K classes, `percentile`, the percentage of these that are less similar (ties
    count half), and p = (1 + groups at least as similar) / 1,001. None for a group of fewer than two classes.
    """
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = np.clip(unit @ unit.T, -1.0, 1.0)
    shuffled = np.argsort(np.random.default_rng(seed).random((DRAWS, len(vectors))), axis=1)
    similarities: list[SetSimilarity | None] = []
    for group in groups:
        if len(group) < 2:
            similarities.append(None)
            continue
        mean, largest = _pair_cosines(cosines, np.concatenate([np.asarray(group)[None], shuffled[:, : len(group)]]))
        similarities.append(SetSimilarity(_compare_high(mean[0], mean[1:]), _compare_high(largest[0], largest[1:])))
    return similarities


def class_uptake(offered: Array, taken: Array, gained: Array) -> list[ClassUptake]:
    """How much of a teacher's knowledge reached the student, within the classes that hold X % of it.

    offered (K,): the teacher's positive flips of the student before; taken (K,): of those samples, the ones that are
    right after; gained (K,): all that are wrong before and right after. `transfer_rate` = taken / offered, in [0, 1];
    `class_transfer_rate` = gained / offered, the paper's, can be larger. Both are None if nothing was offered.
    """
    uptakes = []
    for share in SHARES:
        chosen = smallest_set(offered, share)
        offers, transferred, gains = (int(values[chosen].sum()) for values in (offered, taken, gained))
        uptakes.append(
            ClassUptake(
                share=share,
                count=len(chosen),
                offered=offers,
                transferred=transferred,
                gained=gains,
                transfer_rate=transferred / offers if offers else None,
                class_transfer_rate=gains / offers if offers else None,
                classes=chosen,
            )
        )
    return uptakes


def _sizes(falling: Array, share: float) -> Array:
    """How many of the counts (…, K), in falling order, hold `share` % of their sum (…); 0 if the sum is 0."""
    total = falling.sum(axis=-1)
    # Whole numbers on both sides, so that no rounding decides.
    short = 100 * np.cumsum(falling, axis=-1) < share * total[..., None]
    return np.asarray(np.where(total > 0, short.sum(axis=-1) + 1, 0))


def _entropy(falling: Array) -> Array:
    total, classes = falling.sum(axis=-1, keepdims=True), falling.shape[-1]
    if classes < 2:
        return np.full(falling.shape[:-1], np.nan)
    shares = falling / np.maximum(total, 1)
    terms = -shares * np.log(np.where(shares > 0, shares, 1.0))
    even = np.clip(terms.sum(axis=-1) / np.log(classes), 0.0, 1.0)
    return np.asarray(np.where(total[..., 0] > 0, even, np.nan))


def _pair_cosines(cosines: Array, groups: Array) -> tuple[Array, Array]:
    """The mean and the largest cosine (R,) between two different members of each group (R, k)."""
    k = groups.shape[1]
    mean, largest = np.empty(len(groups)), np.empty(len(groups))
    # No cosine is below -1: so the diagonal is never the largest, and its part of the sum is exactly -k.
    others = cosines.copy()
    np.fill_diagonal(others, -1.0)
    # Sorted, so that the order of the classes does not change a bit of the result.
    for row, members in enumerate(np.sort(groups, axis=1)):
        block = others[np.ix_(members, members)]
        mean[row], largest[row] = (block.sum() + k) / (k * (k - 1)), block.max()
    return mean, largest


def _compare_low(value: np.generic, draws: Array) -> ChanceComparison:
    """A value beside random draws (R,), of which low ones are extreme."""
    return ChanceComparison(value.item(), *_summarize(draws), _p_value(draws <= value))


def _compare_high(value: np.generic, draws: Array) -> RankedComparison:
    """A value beside random draws (R,), of which high ones are extreme."""
    percentile = float(100 * ((draws < value).mean() + (draws == value).mean() / 2))
    return RankedComparison(value.item(), *_summarize(draws), _p_value(draws >= value), percentile)


def _summarize(draws: Array) -> tuple[float, float, float]:
    """Mean and ends of the 95 % interval."""
    low, high = np.quantile(draws, (0.025, 0.975))
    return float(draws.mean()), float(low), float(high)


def _p_value(extreme: Array) -> float:
    return float((1 + extreme.sum()) / (1 + len(extreme)))
