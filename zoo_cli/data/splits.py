"""The draw of labelled, unlabelled, test and probe samples: one seeded decision, without files or pixels.

Every choice orders samples by SHA-256 of "seed:purpose:id", so it depends neither on the order of rows nor on the other
images. For one seed, `5/class` is a subset of `20/class`, 5 % of 10 %, 500 of 1000, and all of them of `all`.

Groups (one patient, one tile) stay on one side of the test border, because results are measured across it. The draw of
labelled images counts images and ignores groups: both sides are training images, nothing is measured between them, and
"5/class" says how many labels have to be paid for.
"""

import heapq
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from zoo_cli.counts import count_cases
from zoo_cli.data.hold_out import draw_hold_out, hash_id
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.text_escapes import quote

TEST_SHARE = 0.2


@dataclass
class Splits:
    """The split ("labelled", "unlabelled" or "test") and the probe flag of every sample, in the order of the ids.

    `notes`: warnings for the user, one line each.
    """

    split: list[str]
    probe: list[bool]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class LabelledShare:
    """How many labels may be used: `kind` is "all", "share" (of each class, in (0, 1]), "per class" or "total"."""

    kind: str
    amount: Fraction = Fraction(0)


def parse_labelled(text: str) -> LabelledShare:
    """Parse `10%`, `5/class`, `1000` (in all) or `all`. Raises UsageError for anything else, zero, or above 100 %."""
    stripped = text.strip()
    if stripped == "all":
        return LabelledShare("all")
    for kind, pattern in (
        ("share", r"([0-9]+(?:\.[0-9]+)?) ?%"),
        ("per class", r"([0-9]+)/class"),
        ("total", r"([0-9]+)"),
    ):
        match = re.fullmatch(pattern, stripped)
        if match and len(stripped) < 100:
            amount = Fraction(match[1]) / (100 if kind == "share" else 1)
            if amount > 0 and not (kind == "share" and amount > 1):
                return LabelledShare(kind, amount)
    raise UsageError(f'labelled = "{text}"', 'write "10%", "5/class", "1000" (in all) or "all"')


def parse_test_share(test: Sequence[str]) -> float | None:
    """The share of train that `[task] test` sets aside, in [0, 1): 0.2 by default, 0.3 for "30%".

    None if it names data of its own. Raises UsageError for 100 % or more.
    """
    if not test:
        return TEST_SHARE
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?%", test[0].strip())
    if len(test) > 1 or not match:
        return None
    share = float(match[1]) / 100
    if share >= 1:
        raise UsageError(
            f'test = "{test[0]}" leaves nothing to train on', 'write less, e.g. "20%", or name the test images'
        )
    return share


def sample_id(id: str, part: str, number: int, own: bool) -> str:
    """The id of a sample in the manifest.

    An id from the data itself (`own`) is kept, because other tools know the image by it. An id made from a file name or
    a row number gets the part as a prefix and, from the second data set of a part on, its number: "train/cat/1.jpg",
    "train-2/cat/1.jpg". So ids of train and test never collide, and adding a data set renames nothing.
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
    """Draw the splits and probe flags of N samples: `parts` are "train", "unlabelled" or "test".

    Test: the test part, else `test_fraction` of train, stratified. Of every class with at least two units (an image, or
    a group, kept whole) at least one is on each side; without groups the share is exact up to rounding, with groups as
    near as whole groups allow. A group that also has images in the unlabelled part stays in train.
    Labelled: the `labelled` images of the remaining train images with a label. A share is of each class, rounded, at
    least one image; a total is spread in proportion to class size, with at least one image per class while it lasts.
    Probe: `probe` of the labelled images, or "all", in proportion to class size (Webster's method), with at least two
    images of every class it contains and at most `probe_per_class` (0: no limit). If it has room for two images of only
    some classes, it takes a seeded subset of them. A class with one labelled image cannot be in the probe.
    Train images without a label are unlabelled. `classes` are the names to use in the notes.

    Raises UsageError for an invalid `labelled`, `test_fraction`, `probe` or `probe_per_class`, ContractError for
    repeated ids.
    """
    share = parse_labelled(labelled)
    _check(ids, test_fraction, probe, probe_per_class)

    def order(purpose: str) -> Callable[[int], tuple[bytes, str]]:
        return lambda i: (hash_id(seed, purpose, ids[i]), ids[i])

    notes: list[str] = []
    list_classes = _class_lister(classes)
    split = ["test" if part == "test" else "unlabelled" for part in parts]
    train = [i for i, part in enumerate(parts) if part == "train"]
    if "test" in parts:
        notes += _shared_groups(parts, groups)
    elif test_fraction > 0:
        test = draw_hold_out(train, ids, labels, groups, _groups_of(parts, groups, "unlabelled"), test_fraction, seed)
        for i in test.positions:
            split[i] = "test"
        if test.untouched:
            notes.append(f"train has a single image or group, so none is test: {list_classes(test.untouched)}")

    by_class: dict[int, list[int]] = defaultdict(list)
    for i in sorted((i for i in train if split[i] != "test"), key=order("labelled")):
        label = labels[i]
        if label is not None:
            by_class[label].append(i)
    labelled_counts, labelled_notes = _count_labelled(_sizes(by_class), share, seed, list_classes)
    for label, count in labelled_counts.items():
        for i in by_class[label][:count]:
            split[i] = "labelled"

    members: dict[int, list[int]] = defaultdict(list)
    for i in sorted((i for i in train if split[i] == "labelled"), key=order("probe")):
        label = labels[i]
        assert label is not None, "labelled samples have labels"
        members[label].append(i)
    probe_counts, probe_notes = _count_probe(_sizes(members), probe, probe_per_class, seed, list_classes)
    flags = [False] * len(ids)
    for label, count in probe_counts.items():
        for i in members[label][:count]:
            flags[i] = True
    return Splits(split, flags, notes + labelled_notes + probe_notes)


def find_duplicates(ids: Sequence[str], split: Sequence[str], sha256: Sequence[str]) -> list[str]:
    """Notes on images that occur under more than one id, and on test images that are also training images.

    `ids`, `split` and `sha256`, the digests of the encoded images, are of all samples (N,).
    """
    positions: dict[str, list[int]] = defaultdict(list)
    for i, digest in enumerate(sha256):
        positions[digest].append(i)
    repeated = [same for same in positions.values() if len(same) > 1]
    notes = []
    if repeated:
        first = " and ".join(quote(ids[i]) for i in repeated[0][:2])
        occur = count_cases(len(repeated), "image occurs", "images occur")
        notes.append(f"{occur} under more than one id, e.g. {first}")
    leaks = [i for same in repeated if len({split[i] == "test" for i in same}) == 2 for i in same if split[i] == "test"]
    if leaks:
        are = count_cases(len(leaks), "test image is", "test images are")
        notes.append(f"{are} also among the training images, e.g. {quote(ids[leaks[0]])}")
    return notes


def _check(ids: Sequence[str], test_fraction: float, probe: int | str, probe_per_class: int) -> None:
    if len(set(ids)) < len(ids):
        repeated = [f"{name!r}" for name, count in Counter(ids).items() if count > 1]
        raise ContractError(
            f"{len(repeated)} ids are repeated, e.g. {', '.join(repeated[:5])}",
            "give every image an id of its own",
        )
    if not 0 <= test_fraction < 1:
        raise UsageError(f"{test_fraction:g} of train as test", "give a share from 0 to below 1")
    if probe != "all" and (not isinstance(probe, int) or probe < 4):
        raise UsageError(f'probe = "{probe}"', 'give at least 4 (two images of two classes), or "all"')
    if probe_per_class < 0 or probe_per_class == 1:
        raise UsageError(f"probe_per_class = {probe_per_class}", "give 0 for no limit, else at least 2")


def _groups_of(parts: Sequence[str], groups: Sequence[str | None], *names: str) -> frozenset[str]:
    """The groups with a sample in one of the parts `names`."""
    return frozenset(group for group, part in zip(groups, parts, strict=True) if part in names and group is not None)


def _shared_groups(parts: Sequence[str], groups: Sequence[str | None]) -> list[str]:
    shared = _groups_of(parts, groups, "test") & _groups_of(parts, groups, "train", "unlabelled")
    return [f"{len(shared)} groups are on both sides of the test border, e.g. {min(shared)!r}"] if shared else []


def _sizes(by_class: Mapping[int, Sequence[int]]) -> dict[int, int]:
    return {label: len(members) for label, members in sorted(by_class.items())}


def _count_labelled(
    size: dict[int, int], share: LabelledShare, seed: int, list_classes: Callable[[Sequence[int]], str]
) -> tuple[dict[int, int], list[str]]:
    """How many images of each class are labelled, and notes. `size`: training images of each class with a label."""
    if share.kind == "all" or not size:
        return size, []
    if share.kind == "share":
        half = Fraction(1, 2)
        return {label: max(1, math.floor(count * share.amount + half)) for label, count in size.items()}, []
    amount = int(share.amount)
    notes = []
    if share.kind == "per class":
        short = [label for label, count in size.items() if count < amount]
        if short:
            notes.append(f"fewer than {amount} images, so all are labelled: {list_classes(short)}")
        return {label: min(count, amount) for label, count in size.items()}, notes
    total = sum(size.values())
    if amount > total:
        notes.append(f"{amount} images were to be labelled, but train has only {total}")
    ranked = sorted(size, key=lambda label: hash_id(seed, "labelled class", str(label)))
    if amount < len(size):
        notes.append(
            f"{amount} labelled images cannot cover the {len(size)} classes: {len(size) - amount} of them get none"
        )
    start = dict.fromkeys(ranked[:amount], 1)
    return _apportion(start, size, size, amount), notes


def _count_probe(
    size: Mapping[int, int], probe: int | str, limit: int, seed: int, list_classes: Callable[[Sequence[int]], str]
) -> tuple[dict[int, int], list[str]]:
    """How many images of each class are in the probe, and notes. `size`: labelled images of each class."""
    notes = []
    room = {label: min(count, limit) if limit else count for label, count in size.items() if count > 1}
    single = [label for label, count in size.items() if count == 1]
    if single:
        notes.append(f"not in the probe, because they have a single labelled image: {list_classes(single)}")
    if probe == "all" or not room:
        return room, notes
    amount = int(probe)
    if 2 * len(room) > amount:
        ranked = sorted(room, key=lambda label: hash_id(seed, "probe class", str(label)))
        notes.append(f"a probe of {amount} covers {amount // 2} of the {len(room)} classes, with two images of each")
        room = {label: room[label] for label in ranked[: amount // 2]}
    if sum(room.values()) < amount:
        notes.append(f"the probe has only {sum(room.values())} of {amount} images")
    return _apportion(dict.fromkeys(room, 2), size, room, amount), notes


def _apportion(
    start: Mapping[int, int], size: Mapping[int, int], room: Mapping[int, int], total: int
) -> dict[int, int]:
    """`total` seats over the classes of `start`, in proportion to `size`: at least `start`, at most `room`.

    Webster's (Sainte-Laguë's) method, one seat at a time: a larger total keeps every seat of a smaller one.
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


def _class_lister(classes: Sequence[str]) -> Callable[[Sequence[int]], str]:
    """A function that lists labels for a note, by name if `classes` has one: "class 'ant'", "2 classes ('ant', 3)"."""

    def name(label: int) -> str:
        return repr(classes[label]) if label < len(classes) else str(label)

    def list_classes(labels: Sequence[int]) -> str:
        if len(labels) == 1:
            return f"class {name(labels[0])}"
        more = ", …" if len(labels) > 5 else ""
        return f"{len(labels)} classes ({', '.join(map(name, labels[:5]))}{more})"

    return list_classes
