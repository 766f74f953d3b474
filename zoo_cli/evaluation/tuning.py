"""The search of `zoo tune`: candidates against labels only on repeated hold-outs, and when a gain is certain.

A trial trains one candidate without the held-out images of one split and is judged on them; differences are paired by
split. Rounds of more and more splits halve the candidates. Fractions throughout.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from zoo_cli.evaluation.named_runs import LABELS_ONLY

Array = np.ndarray

TAIL = 0.05
"""The probability that any candidate without a gain is returned: that of one end of all 90 % intervals together."""
MOST_SPLITS, LEAST_SPLITS = 20, 4
HALVINGS = 2


@dataclass(frozen=True, order=True)
class Trial:
    """One run of the search: a candidate, by name, without the held-out images of a split, by number."""

    split: int
    candidate: str


@dataclass(frozen=True)
class Round:
    """A part of the search: its candidates are tried on the splits from `begin` to `end`; `candidates`: at most."""

    begin: int
    end: int
    candidates: int


@dataclass(frozen=True)
class Gain:
    """The mean gain over labels only, in [-1, 1], the ends of its interval, and the number of splits."""

    mean: float
    low: float
    high: float
    splits: int

    @property
    def reach(self) -> float:
        """Half the width of the interval: a true gain of this size is certain in about half of all searches."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Drop:
    """A candidate that was left out after so many splits, and why."""

    candidate: str
    splits: int
    reason: str


@dataclass(frozen=True)
class HoldOut:
    """One split: the positions (M,) of the labelled images that it holds out, and the number that it leaves."""

    positions: Array
    left: int


@dataclass(frozen=True)
class SearchResult:
    """Accuracies by candidate and split, gains over labels only by candidate, and the best candidate of the last round.

    `certain`: whether the lower end of its gain is above 0. `best`: None if every candidate was dropped.
    """

    accuracies: Mapping[str, Sequence[float]]
    gains: Mapping[str, Gain]
    dropped: Sequence[Drop]
    best: str | None

    @property
    def certain(self) -> bool:
        """Whether the best candidate is better than labels only."""
        return self.best is not None and self.gains[self.best].low > 0

    @property
    def chosen(self) -> str:
        """What is returned: the best candidate if it is certain to gain, else labels only."""
        return self.best if self.best is not None and self.certain else LABELS_ONLY


def plan_rounds(candidates: int, splits: int) -> tuple[Round, ...]:
    """The rounds of a search: each but the first has twice the splits and half the candidates of the one before."""
    halvings = min(HALVINGS, math.ceil(math.log2(candidates)))
    rounds: list[Round] = []
    for number in range(halvings + 1):
        end = math.ceil(splits / 2 ** (halvings - number))
        rounds.append(Round(rounds[-1].end if rounds else 0, end, math.ceil(candidates / 2**number)))
    return tuple(rounds)


def count_runs(candidates: int, splits: int) -> int:
    """The most runs of a search, those of labels only among them."""
    return sum((each.end - each.begin) * (each.candidates + 1) for each in plan_rounds(candidates, splits))


def choose_splits(candidates: int, runs: int) -> int | None:
    """The greatest number of splits for so many runs, from 4 to 20; None if they are too few."""
    numbers = range(MOST_SPLITS, LEAST_SPLITS - 1, -1)
    return next((splits for splits in numbers if count_runs(candidates, splits) <= runs), None)


def run_search(
    candidates: Sequence[str],
    splits: Sequence[HoldOut],
    evaluate: Callable[[Sequence[Trial]], Mapping[Trial, Array | str]],
    report: Callable[[SearchResult], None] = lambda _: None,
) -> SearchResult:
    """Search among candidates. `evaluate`: how trials answer their held-out images (M,), 1 for right and 0 for wrong;
    the reason instead for one that cannot be trained, such as "diverged".

    `report` sees the state after each round. After a round a candidate is dropped if it could not be trained, if its
    gain over labels only or over the best candidate is certain to be negative, and else if it is not in the better
    half.
    """
    answers: dict[str, list[Array]] = {name: [] for name in (LABELS_ONLY, *candidates)}
    dropped: list[Drop] = []
    rounds = plan_rounds(len(candidates), len(splits))
    remaining = list(candidates)

    def gain(after: str, before: str, tail: float) -> Gain:
        count = min(len(answers[after]), len(answers[before]))
        pairs = zip(answers[after][:count], answers[before][:count], strict=True)
        return hold_out_gain([a - b for a, b in pairs], splits[:count], tail)

    def conclude() -> SearchResult:
        gains = {name: gain(name, LABELS_ONLY, TAIL / len(candidates)) for name in candidates if answers[name]}
        best = max(remaining, key=lambda name: gains[name].mean, default=None)
        accuracies = {name: [float(right.mean()) for right in rows] for name, rows in answers.items()}
        return SearchResult(accuracies, gains, tuple(dropped), best)

    def drop(after: int, reasons: Mapping[str, str]) -> None:
        dropped.extend(Drop(name, after, reason) for name, reason in reasons.items())
        remaining[:] = [name for name in remaining if name not in reasons]

    for number, each in enumerate(rounds):
        trials = [Trial(split, name) for split in range(each.begin, each.end) for name in (LABELS_ONLY, *remaining)]
        results = evaluate(trials)
        drop(each.end, {trial.candidate: right for trial in trials if isinstance(right := results[trial], str)})
        for trial in trials:
            right = results[trial]
            if not isinstance(right, str) and trial.candidate in (LABELS_ONLY, *remaining):
                answers[trial.candidate].append(np.asarray(right, dtype=float))
        order = sorted(remaining, key=lambda name: -gain(name, LABELS_ONLY, TAIL).mean)
        worse = {
            name: f"worse than {better}"
            for name in order
            for better in (order[0], LABELS_ONLY)
            if name != better and gain(name, better, TAIL).high < 0
        }
        drop(each.end, worse)
        most = rounds[number + 1].candidates if number + 1 < len(rounds) else len(order)
        drop(each.end, dict.fromkeys([name for name in order if name not in worse][most:], "not in the better half"))
        report(conclude())
        if not remaining:
            break
    return conclude()


def hold_out_gain(differences: Sequence[Array], splits: Sequence[HoldOut], tail: float) -> Gain:
    """The mean gain over J repeated hold-outs of the same labelled images, with an interval that leaves out `tail` on
    each side. `differences`: of each split and image (M,), in -1, 0, 1.

    The variance has two parts. That of the images, which return in several splits, is clustered by image. That of the
    training, what splits vary beyond their images (two-way clusters: Cameron, Gelbach and Miller 2011, Robust inference
    with multiway clustering), is 1 / J + n_held_out / n_left of a split's in place of 1 / J, because the training sets
    overlap: the correction of Nadeau and Bengio (2003, Inference for the generalization error, Machine Learning 52,
    section 5), which they apply to both parts. Quantiles are Student's, with Satterthwaite's degrees of freedom. The
    variance is at least that of a share of the images with one more gained and one more not: equal differences do not
    make a gain certain.
    """
    count, flat = len(splits), np.concatenate(differences)
    mean = float(flat.mean())
    _, images = np.unique(np.concatenate([split.positions for split in splits]), return_inverse=True)
    errors = (flat - mean) / len(flat)
    by_image = np.bincount(images, errors)
    n = len(by_image)
    share = (abs(mean) * n + 1) / (n + 2)
    image_part = max(float(by_image @ by_image) * n / max(n - 1, 1), share * (1 - share) / n)
    train_part = 0.0
    if count > 1:
        by_split = np.array([float(each.sum() - mean * len(each)) for each in differences]) / len(flat)
        excess = float(by_split @ by_split) * count / (count - 1) - float(errors @ errors)
        ratio = sum(len(split.positions) for split in splits) / sum(split.left for split in splits)
        train_part = max(0.0, excess) * (1 + count * ratio)
    variance = image_part + train_part
    squares = image_part**2 / max(n - 1, 1) + train_part**2 / max(count - 1, 1)
    reach = float(stdtrit(variance**2 / squares, 1 - tail)) * math.sqrt(variance)
    return Gain(mean, max(-1.0, mean - reach), min(1.0, mean + reach), count)
