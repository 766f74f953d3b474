"""Who is labelled, who is not, who is test, who is probe: one seeded decision, without files or pixels.

Every choice orders samples by SHA-256 of "seed:purpose:id", so it depends neither on the order of rows nor on the other
images. For one seed, `5/class` is part of `20/class`, 5 % of 10 %, 500 of 1000, and all of them of `all`.

Groups (one patient, one tile) stay on one side of the test border, because numbers are measured across it. The draw of
labelled images counts images and ignores groups: both sides are training images, nothing is measured between them, and
"5/class" is a promise about how many labels somebody pays for.
"""

import hashlib
import heapq
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from zoo_cli.errors import ContractError, UsageError

PARTS = ("train", "unlabelled", "test")
TEST_SHARE = 0.2


@dataclass
class Splits:
    """For every sample, in the order of the ids: its split ("labelled", "unlabelled", "test") and whether it is probe.

    `notes`: what the user should hear, one line each.
    """

    split: list[str]
    probe: list[bool]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class LabelledShare:
    """How many labels may be used: `kind` "all", "share" (of each class), "per class" or "total"."""

    kind: str
    amount: Fraction = Fraction(0)


def parse_labelled(text: str) -> LabelledShare:
    """`10%`, `5/class`, `1000` (in all) or `all`. Raises UsageError for anything else, zero, or more than 100 %."""
    said = text.strip()
    if said == "all":
        return LabelledShare("all")
    for kind, pattern in (
        ("share", r"([0-9]+(?:\.[0-9]+)?) ?%"),
        ("per class", r"([0-9]+)/class"),
        ("total", r"([0-9]+)"),
    ):
        found = re.fullmatch(pattern, said)
        if found and len(said) < 100:
            amount = Fraction(found[1]) / (100 if kind == "share" else 1)
            if amount > 0 and not (kind == "share" and amount > 1):
                return LabelledShare(kind, amount)
    raise UsageError(f'labelled = "{text}"', 'write "10%", "5/class", "1000" (in all) or "all"')


def test_share(test: Sequence[str]) -> float | None:
    """What `[task] test` says of the share of train to set aside: 0.2 for nothing said, 0.3 for "30%".

    None where it names data of its own. Raises UsageError from 100 % on.
    """
    if not test:
        return TEST_SHARE
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?%", test[0].strip())
    if len(test) > 1 or not found:
        return None
    share = float(found[1]) / 100
    if share >= 1:
        raise UsageError(
            f'test = "{test[0]}" leaves nothing to train on', 'write less, e.g. "20%", or name the test images'
        )
    return share


def sample_id(id: str, part: str, number: int, own: bool) -> str:
    """The id of a sample in the manifest.

    An id that stands in the data itself (`own`) is kept: others know the image by it. One made from a file name or a
    row number gets the part and, from the second data set of a part on, its number in front: "train/cat/1.jpg",
    "train-2/cat/1.jpg". So `train/cat/1.jpg` and `test/cat/1.jpg` never meet, and adding a data set renames nothing.
    """
    return id if own else f"{part}/{id}" if number == 0 else f"{part}-{number + 1}/{id}"


def draw_splits(
    ids: Sequence[str],
    parts: Sequence[str],
    labels: Sequence[int | None],
    groups: Sequence[str | None],
    *,
    labelled: str = "all",
    test_fraction: float = TEST_SHARE,
    probe: int | str = 500,
    probe_per_class: int = 0,
    seed: int = 0,
    classes: Sequence[str] = (),
) -> Splits:
    """Splits and probe flags of N samples, given their ids, parts ("train", "unlabelled", "test"), labels and groups.

    Test: the test part, else `test_fraction` of train, stratified: of every class with at least two units (an image, or
    a group, kept whole) at least one on each side; without groups exactly the rounded share, with groups as near as
    whole groups come. A group that also has images in the unlabelled part stays in train.
    Labelled: of the labelled train images that remain, what `labelled` says; a share is of each class, rounded, at
    least one image; a total is spread in proportion to class size, at least one image a class while it lasts.
    Probe: of the labelled images, `probe` of them or "all"; in proportion to class size (Webster's method), at least
    two images of every class it holds, at most `probe_per_class` (0: no limit). With more classes than half the probe
    it takes a seeded subset of them. A class with one labelled image cannot be in the probe.
    Train images without a label are unlabelled. `classes` only makes the notes speak of names.

    Raises UsageError for a `labelled`, `test_fraction`, `probe` or `probe_per_class` that cannot be, ContractError for
    repeated ids.
    """
    wanted = parse_labelled(labelled)
    _check(ids, test_fraction, probe, probe_per_class)

    def order(purpose: str) -> Callable[[int], tuple[bytes, str]]:
        return lambda i: (_hash(seed, purpose, ids[i]), ids[i])

    notes: list[str] = []
    name = _namer(classes)
    split = ["test" if part == "test" else "unlabelled" for part in parts]
    train = [i for i, part in enumerate(parts) if part == "train"]
    if "test" in parts:
        inside = {group for group, part in zip(groups, parts, strict=True) if part == "test"} - {None}
        shared = inside & {group for group, part in zip(groups, parts, strict=True) if part != "test"}
        if shared:
            notes.append(f"groups on both sides of the test border: {len(shared)}, e.g. {min(map(str, shared))!r}")
    elif test_fraction > 0:
        pool = {groups[i] for i, part in enumerate(parts) if part == "unlabelled"} - {None}
        for i in _carved(train, ids, labels, groups, pool, test_fraction, seed, notes, name):
            split[i] = "test"

    by_class: dict[int, list[int]] = defaultdict(list)
    for i in sorted((i for i in train if split[i] != "test"), key=order("labelled")):
        label = labels[i]
        if label is not None:
            by_class[label].append(i)
    for label, count in _labels_of(by_class, wanted, seed, notes, name).items():
        for i in by_class[label][:count]:
            split[i] = "labelled"

    members: dict[int, list[int]] = defaultdict(list)
    for i in sorted((i for i in train if split[i] == "labelled"), key=order("probe")):
        members[_known(labels[i])].append(i)
    flags = [False] * len(ids)
    sizes = {label: len(found) for label, found in sorted(members.items())}
    for label, count in _probe_of(sizes, probe, probe_per_class, seed, notes, name).items():
        for i in members[label][:count]:
            flags[i] = True
    return Splits(split, flags, notes)


def hold_out(
    ids: Sequence[str], labels: Sequence[int], groups: Sequence[str | None], fraction: float, seed: int
) -> list[int]:
    """The positions, ascending, of a share of labelled samples (N,) to judge by: stratified, groups kept together.

    Every class gives a sample, unless it then had none left to learn from.
    """
    return sorted(_carved(range(len(ids)), ids, labels, groups, set(), fraction, seed, [], str))


def find_duplicates(ids: Sequence[str], split: Sequence[str], sha256: Sequence[str]) -> list[str]:
    """Notes on images that occur more than once: under how many ids, and how many test images are also trained on."""
    found: dict[str, list[int]] = defaultdict(list)
    for i, digest in enumerate(sha256):
        found[digest].append(i)
    repeated = [where for where in found.values() if len(where) > 1]
    notes = []
    if repeated:
        first = " and ".join(repr(ids[i]) for i in repeated[0][:2])
        notes.append(f"{len(repeated)} images occur under more than one id, e.g. {first}")
    leaks = [
        i for where in repeated if len({split[i] == "test" for i in where}) == 2 for i in where if split[i] == "test"
    ]
    if leaks:
        notes.append(f"{len(leaks)} test images are also among the training images, e.g. {ids[leaks[0]]!r}")
    return notes


def _check(ids: Sequence[str], test_fraction: float, probe: int | str, probe_per_class: int) -> None:
    if len(set(ids)) < len(ids):
        repeated = [f"{name!r}" for name, count in Counter(ids).items() if count > 1]
        raise ContractError(
            f"{len(repeated)} ids are repeated, e.g. {', '.join(repeated[:5])}",
            "an id names one image: change the data",
        )
    if not 0 <= test_fraction < 1:
        raise UsageError(f"{test_fraction:g} of train as test", "a share from 0 to below 1")
    if probe != "all" and (not isinstance(probe, int) or probe < 4):
        raise UsageError(f'probe = "{probe}"', 'at least 4 (two images of two classes), or "all"')
    if probe_per_class < 0 or probe_per_class == 1:
        raise UsageError(f"probe_per_class = {probe_per_class}", "0 for no limit, else at least 2")


def _carved(
    train: Sequence[int],
    ids: Sequence[str],
    labels: Sequence[int | None],
    groups: Sequence[str | None],
    pool: set[str | None],
    fraction: float,
    seed: int,
    notes: list[str],
    name: Callable[[int], str],
) -> list[int]:
    """The train samples that become test. Units, in the order of their hashes, are taken while they bring the counts
    nearer to their targets and leave every class a unit in train."""
    units: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i in train:
        group = groups[i]
        units[("image", ids[i]) if group is None else ("group", group)].append(i)

    def held(key: tuple[str, str]) -> dict[int, int]:
        counts: dict[int, int] = {}
        for i in units[key]:
            label = labels[i]
            if label is not None:
                counts[label] = counts.get(label, 0) + 1
        return counts

    size: dict[int, int] = defaultdict(int)
    left: dict[int, int] = defaultdict(int)  # how many units of train each class is in
    ranked = []
    for key in units:
        counts = held(key)
        for label, count in counts.items():
            size[label] += count
            left[label] += 1
        if counts and not (key[0] == "group" and key[1] in pool):
            ranked.append((_hash(seed, "test", key[1]), key))
    ranked.sort()
    target = {label: max(1, math.floor(count * fraction + 0.5)) for label, count in size.items()}
    taken = dict.fromkeys(size, 0)
    chosen: list[int] = []

    def take(key: tuple[str, str]) -> None:
        chosen.extend(units[key])
        for label, count in held(key).items():
            taken[label] += count
            left[label] -= 1

    for _, key in ranked:
        counts = held(key)
        gain = sum(abs(target[c] - taken[c]) - abs(target[c] - taken[c] - n) for c, n in counts.items())
        if gain > 0 and all(left[c] > 1 for c in counts):
            take(key)
    for label in sorted(size):  # groups larger than twice the target leave a class out
        if not taken[label]:
            able = [key for _, key in ranked if label in (counts := held(key)) and all(left[c] > 1 for c in counts)]
            if able:
                take(min(able, key=lambda key: len(units[key])))
    single = [label for label in sorted(size) if not taken[label]]
    if single:
        notes.append(f"not in the test part, because train holds a single image or group: {_some(single, name)}")
    return chosen


def _labels_of(
    by_class: Mapping[int, Sequence[int]],
    wanted: LabelledShare,
    seed: int,
    notes: list[str],
    name: Callable[[int], str],
) -> dict[int, int]:
    """How many labelled images of each class."""
    size = {label: len(found) for label, found in sorted(by_class.items())}
    if wanted.kind == "all" or not size:
        return size
    if wanted.kind == "share":
        return {label: max(1, math.floor(count * wanted.amount + Fraction(1, 2))) for label, count in size.items()}
    amount = int(wanted.amount)
    if wanted.kind == "per class":
        short = [label for label, count in size.items() if count < amount]
        if short:
            notes.append(f"fewer than {amount} images, all of them labelled: {_some(short, name)}")
        return {label: min(count, amount) for label, count in size.items()}
    total = sum(size.values())
    if amount > total:
        notes.append(f"{amount} labelled images are asked for, train has {total}")
    ranked = sorted(size, key=lambda label: _hash(seed, "labelled class", str(label)))
    if amount < len(size):
        notes.append(f"{amount} labelled images are fewer than the {len(size)} classes: {len(size) - amount} get none")
    start = dict.fromkeys(ranked[:amount], 1)
    return _webster(start, size, size, amount)


def _probe_of(
    size: Mapping[int, int], probe: int | str, limit: int, seed: int, notes: list[str], name: Callable[[int], str]
) -> dict[int, int]:
    """How many probe images of each class."""
    room = {label: min(count, limit) if limit else count for label, count in size.items() if count > 1}
    single = [label for label, count in size.items() if count == 1]
    if single:
        notes.append(f"out of the probe, with a single labelled image: {_some(single, name)}")
    if probe == "all" or not room:
        return room
    amount = int(probe)
    if 2 * len(room) > amount:
        ranked = sorted(room, key=lambda label: _hash(seed, "probe class", str(label)))
        notes.append(f"a probe of {amount} holds {amount // 2} of the {len(room)} classes, two images of each at least")
        room = {label: room[label] for label in ranked[: amount // 2]}
    if sum(room.values()) < amount:
        notes.append(f"the probe has {sum(room.values())} images, {amount} are asked for")
    return _webster(dict.fromkeys(room, 2), size, room, amount)


def _webster(start: Mapping[int, int], size: Mapping[int, int], room: Mapping[int, int], total: int) -> dict[int, int]:
    """`total` seats over the classes of `start`, in proportion to `size`, from `start` on, at most `room`.

    Webster's (Sainte-Laguë's) divisors, one seat after the other: a larger total keeps every seat of a smaller one.
    """
    seats = dict(start)
    queue = [(-size[label] / (2 * count + 1), label) for label, count in seats.items()]
    heapq.heapify(queue)
    for _ in range(total - sum(seats.values())):
        while queue and seats[queue[0][1]] >= room[queue[0][1]]:
            heapq.heappop(queue)
        if not queue:
            break
        label = queue[0][1]
        seats[label] += 1
        heapq.heapreplace(queue, (-size[label] / (2 * seats[label] + 1), label))
    return seats


def _hash(seed: int, purpose: str, id: str) -> bytes:
    return hashlib.sha256(f"{seed}:{purpose}:{id}".encode()).digest()


def _known(label: int | None) -> int:
    assert label is not None
    return label


def _namer(classes: Sequence[str]) -> Callable[[int], str]:
    return lambda label: repr(classes[label]) if label < len(classes) else str(label)


def _some(labels: Iterable[int], name: Callable[[int], str]) -> str:
    found = list(labels)
    if len(found) == 1:
        return f"class {name(found[0])}"
    more = ", …" if len(found) > 5 else ""
    return f"{len(found)} classes ({', '.join(map(name, found[:5]))}{more})"
