"""A stratified share of labelled samples set aside, with groups kept whole: the test part of a task, or validation."""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class HoldOut:
    """The positions set aside, and the classes (ascending) that keep all their samples.

    A class keeps them if it has a single unit, an image or a group, or only units that would empty another class.
    """

    positions: list[int]
    untouched: list[int]


@dataclass(frozen=True)
class _Unit:
    """A group, or an image without one: the positions that are set aside together, and their number in each class."""

    kind: str  # "group" or "image"
    name: str
    positions: list[int]
    counts: Counter[int]


def hold_out_positions(
    ids: Sequence[str], labels: Sequence[int], groups: Sequence[str | None], fraction: float, seed: int
) -> list[int]:
    """The positions, ascending, of a share of labelled samples (N,) for validation: stratified, groups kept whole.

    Every class gives at least one sample, unless it would then have none left for training.
    """
    return sorted(draw_hold_out(range(len(ids)), ids, labels, groups, frozenset(), fraction, seed).positions)


def draw_hold_out(
    positions: Iterable[int],
    ids: Sequence[str],
    labels: Sequence[int | None],
    groups: Sequence[str | None],
    kept_groups: frozenset[str],
    fraction: float,
    seed: int,
) -> HoldOut:
    """Set aside `fraction`, in [0, 1), of each class among `positions` of samples (N,).

    Units, in the order of their hashes, are taken while they bring the class counts nearer to their targets and leave
    every class a unit. `kept_groups` are never taken.
    """
    units = _make_units(positions, ids, labels, groups)
    size: Counter[int] = Counter()
    units_left: Counter[int] = Counter()  # per class
    for unit in units:
        size.update(unit.counts)
        units_left.update(unit.counts.keys())
    target = {label: max(1, math.floor(count * fraction + 0.5)) for label, count in size.items()}
    taken: Counter[int] = Counter()
    chosen: list[int] = []

    def gain(unit: _Unit) -> int:
        """How much nearer the class counts are to their targets with this unit."""
        return sum(abs(target[c] - taken[c]) - abs(target[c] - taken[c] - n) for c, n in unit.counts.items())

    def leaves_every_class(unit: _Unit) -> bool:
        return all(units_left[label] > 1 for label in unit.counts)

    def take(unit: _Unit) -> None:
        chosen.extend(unit.positions)
        taken.update(unit.counts)
        units_left.subtract(unit.counts.keys())

    candidates = [unit for unit in units if unit.counts and not (unit.kind == "group" and unit.name in kept_groups)]
    candidates.sort(key=lambda unit: (hash_id(seed, "test", unit.name), unit.kind, unit.name))
    for unit in candidates:
        if gain(unit) > 0 and leaves_every_class(unit):
            take(unit)
    for label in sorted(size):  # groups larger than twice the target leave a class out
        if not taken[label]:
            fitting = [unit for unit in candidates if label in unit.counts and leaves_every_class(unit)]
            if fitting:
                take(min(fitting, key=lambda unit: len(unit.positions)))
    return HoldOut(chosen, [label for label in sorted(size) if not taken[label]])


def hash_id(seed: int, purpose: str, name: str) -> bytes:
    """SHA-256 of "seed:purpose:name": the order in which samples, groups or classes are drawn."""
    return hashlib.sha256(f"{seed}:{purpose}:{name}".encode()).digest()


def _make_units(
    positions: Iterable[int], ids: Sequence[str], labels: Sequence[int | None], groups: Sequence[str | None]
) -> list[_Unit]:
    members: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i in positions:
        group = groups[i]
        members[("image", ids[i]) if group is None else ("group", group)].append(i)
    return [
        _Unit(kind, name, inside, Counter(label for i in inside if (label := labels[i]) is not None))
        for (kind, name), inside in members.items()
    ]
