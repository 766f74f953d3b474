"""Where positive flips lie: how few classes hold them, whether chance would do the same, how alike those classes are.

Source: Fantastic Gains (2310.17653), section 3 and its supplementary material. Counts are of positive flips, one a
class (K,), over the K classes that occur among the samples.
"""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray
SHARES = (2, 5, 20, 50, 100)
"""The X of "the classes that hold X % of the flips"."""
DRAWS = 1000
SPELLING = "spelling"
LENGTHS = (2, 3, 4)
BUCKETS = 4096


def smallest_set(counts: Array, share: float) -> Array:
    """The smallest set of classes that holds at least `share` % of the flips: class indices (k,), most flipped first.

    Of equally flipped classes the first in label order comes first. Empty where nothing flipped. The reference code
    counts one class more, k + 1; this is the smallest set.
    """
    return np.argsort(-counts, kind="stable")[: int(_sizes(-np.sort(-counts), share))]


def entropy(counts: Array) -> Array:
    """How evenly flips (…, K) lie over classes (…): 0 all in one class, 1 as many in each.

    Shannon's entropy of the shares over log K, which the reference does not divide by. nan where nothing flipped, or
    where there is only one class.
    """
    # In falling order, so that the same counts in another order give the same bits.
    return _entropy(-np.sort(-np.asarray(counts), axis=-1))


def concentration(counts: Array, errors: Array, *, seed: int = 0) -> dict[str, Any] | None:
    """Whether flips lie in fewer classes than chance would put them in.

    counts (K,): positive flips, of `errors` (K,) that the student made before. Under chance as many of the errors are
    corrected, each as likely as any other: draws without replacement, so that a class gives at most its errors
    (multivariate hypergeometric; the order's "in proportion to the student's errors"). `entropy` as above, and `half`,
    the number of classes that hold half of the flips; both are lower where flips lie closer together. Each with its
    mean and 95 % interval over the 1,000 draws and p = (1 + draws at most as high) / 1,001. None where nothing flipped
    or there is one class.
    """
    flips = int(counts.sum())
    if not flips or len(counts) < 2:
        return None
    if (counts > errors).any():
        raise AssertionError("more flips than errors in a class")
    random = np.random.default_rng(seed)
    drawn = random.multivariate_hypergeometric(errors, flips, size=DRAWS, method="marginals")
    both = -np.sort(-np.concatenate([counts[None], drawn]), axis=1)
    evenness, half = _entropy(both), _sizes(both, 50)
    return {
        "flips": flips,
        "errors": int(errors.sum()),
        "classes": len(counts),
        "draws": DRAWS,
        "entropy": _against(evenness[0], evenness[1:], lower=True),
        "half": _against(half[0], half[1:], lower=True),
    }


def spelling_vectors(names: Sequence[str]) -> Array:
    """Vectors (K, 4096) of how names are spelt: counts of the runs of 2 to 4 letters, each hashed to a column.

    Upper and lower case are one; a name begins and ends with a mark of its own. Knows nothing of what names mean.
    """
    vectors = np.zeros((len(names), BUCKETS))
    for row, name in enumerate(names):
        text = f"\x02{name.casefold()}\x03"
        for n in LENGTHS:
            for start in range(max(len(text) - n + 1, 0)):
                vectors[row, zlib.crc32(text[start : start + n].encode()) % BUCKETS] += 1
    return vectors


def set_similarity(groups: Sequence[Array], vectors: Array, *, seed: int = 0) -> list[dict[str, Any] | None]:
    """How alike the classes of each group are: the mean and the largest cosine of two of its classes.

    groups: of class indices (k,); vectors (K, D), none of them zero. Each with its mean and 95 % interval over 1,000
    random groups of as many of the K classes, `percentile`, the share of these that are less alike (ties count half),
    and p = (1 + groups at least as alike) / 1,001. None for a group of fewer than two classes.
    """
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = np.clip(unit @ unit.T, -1.0, 1.0)
    shuffled = np.argsort(np.random.default_rng(seed).random((DRAWS, len(vectors))), axis=1)
    told: list[dict[str, Any] | None] = []
    for group in groups:
        if len(group) < 2:
            told.append(None)
            continue
        found = _pairs(cosines, np.concatenate([np.asarray(group)[None], shuffled[:, : len(group)]]))
        told.append({name: _against(values[0], values[1:], lower=False) for name, values in found.items()})
    return told


def class_uptake(offered: Array, taken: Array, gained: Array) -> list[dict[str, Any]]:
    """How much of a teacher's knowledge reached the student, within the classes that hold X % of it.

    offered (K,): the teacher's positive flips of the student before; taken (K,): of those samples, the ones that are
    right after; gained (K,): all that are wrong before and right after. `transfer_rate` = taken / offered, in [0, 1];
    `class_transfer_rate` = gained / offered, the paper's, can be larger. Both null where nothing was offered.
    """
    rows = []
    for share in SHARES:
        chosen = smallest_set(offered, share)
        sums = [int(values[chosen].sum()) for values in (offered, taken, gained)]
        rows.append(
            {
                "share": share,
                "count": len(chosen),
                "offered": sums[0],
                "transferred": sums[1],
                "gained": sums[2],
                "transfer_rate": sums[1] / sums[0] if sums[0] else None,
                "class_transfer_rate": sums[2] / sums[0] if sums[0] else None,
                "classes": chosen,
            }
        )
    return rows


def _sizes(falling: Array, share: float) -> Array:
    """How many of the counts (…, K), in falling order, hold `share` % of their sum (…); 0 where the sum is 0."""
    total = falling.sum(axis=-1)
    # In whole numbers: 100 held >= share total has no rounding to fall over.
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


def _pairs(cosines: Array, groups: Array) -> dict[str, Array]:
    """The mean and the largest cosine (R,) of two different members of each group (R, k)."""
    k = groups.shape[1]
    mean, largest = np.empty(len(groups)), np.empty(len(groups))
    # No cosine is below -1: so the diagonal is never the largest, and its share of the sum is known.
    others = cosines.copy()
    np.fill_diagonal(others, -1.0)
    # Sorted, so that the same classes in another order give the same bits.
    for row, members in enumerate(np.sort(groups, axis=1)):
        block = others[np.ix_(members, members)]
        mean[row], largest[row] = (block.sum() + k) / (k * (k - 1)), block.max()
    return {"mean": mean, "max": largest}


def _against(value: float, drawn: Array, *, lower: bool) -> dict[str, float]:
    """A value beside those of random draws; `lower`: it is the low ones that are unusual."""
    beyond = (drawn <= value) if lower else (drawn >= value)
    low, high = np.quantile(drawn, (0.025, 0.975))
    told = {
        "value": value.item() if hasattr(value, "item") else value,
        "mean": float(drawn.mean()),
        "low": float(low),
        "high": float(high),
        "p": float((1 + beyond.sum()) / (1 + len(drawn))),
    }
    if not lower:
        told["percentile"] = float(100 * ((drawn < value).mean() + (drawn == value).mean() / 2))
    return told
