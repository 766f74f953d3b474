"""The draw of splits: nested subsets, strata, groups, and independence of the order of rows."""

import itertools
import math
import random
from collections import Counter
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo_cli.data.splits import (
    LabelledShare,
    Splits,
    draw_splits,
    find_duplicates,
    parse_labelled,
    parse_test_share,
    sample_id,
)
from zoo_cli.errors import ContractError, UsageError


def draw(
    labels: list[int | None], parts: list[str] | None = None, groups: list[str | None] | None = None, **options: Any
) -> Splits:
    count = len(labels)
    ids = options.pop("ids", [f"im/{i}.png" for i in range(count)])
    return draw_splits(ids, parts or ["train"] * count, labels, groups or [None] * count, **options)


def members(splits: Splits, split: str) -> set[int]:
    return {i for i, name in enumerate(splits.split) if name == split}


def balanced(classes: int, each: int) -> list[int | None]:
    return [c for c in range(classes) for _ in range(each)]


sizes = st.lists(st.integers(1, 30), min_size=1, max_size=8)
many = settings(max_examples=120, deadline=None)


def spread(counts: list[int], shuffle: int) -> list[int | None]:
    labels: list[int | None] = [c for c, n in enumerate(counts) for _ in range(n)]
    random.Random(shuffle).shuffle(labels)
    return labels


@pytest.mark.parametrize(
    ("text", "kind", "amount"),
    [
        ("all", "all", 0),
        ("10%", "share", Fraction(1, 10)),
        (" 0.5 % ", "share", Fraction(1, 200)),
        ("100%", "share", 1),
        ("5/class", "per class", 5),
        ("1000", "total", 1000),
    ],
)
def test_the_four_forms_of_labelled(text: str, kind: str, amount: Fraction) -> None:
    assert parse_labelled(text) == LabelledShare(kind, Fraction(amount))


@pytest.mark.parametrize(
    "text", ["", "0", "0%", "0/class", "101%", "-5", "5 per class", "5/klass", "ten", "1e3", "٣", "1.5", "%", "1" * 200]
)
def test_other_forms_of_labelled_are_usage_errors(text: str) -> None:
    with pytest.raises(UsageError, match='write "10%"'):
        draw(balanced(2, 4), labelled=text)


@many
@given(st.text(max_size=12))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        share = parse_labelled(text)
    except UsageError:
        return
    assert share.kind == "all" or share.amount > 0


def test_the_test_key_is_a_share_or_data() -> None:
    assert parse_test_share(()) == 0.2
    assert parse_test_share(("0%",)) == 0
    assert parse_test_share(("30%",)) == 0.3
    assert parse_test_share(("folder:test",)) is None
    with pytest.raises(UsageError):
        parse_test_share(("100%",))


def test_only_made_ids_carry_their_part() -> None:
    assert sample_id("cat/1.jpg", "train", 0, False) == "train/cat/1.jpg"
    assert sample_id("cat/1.jpg", "train", 1, False) == "train-2/cat/1.jpg"
    assert sample_id("cat/1.jpg", "test", 0, True) == "cat/1.jpg"


@many
@given(sizes, st.integers(0, 99), st.floats(0, 0.9), st.sampled_from(["all", "10%", "3/class", "7", "50%"]))
def test_the_draw_is_independent_of_row_order(counts: list[int], seed: int, fraction: float, labelled: str) -> None:
    labels = spread(counts, 1)
    ids = [f"{i}" for i in range(len(labels))]
    groups = [f"g{i % 7}" if i % 3 else None for i in range(len(labels))]
    order = random.Random(seed).sample(range(len(labels)), len(labels))
    options: dict[str, Any] = {"seed": seed, "test_fraction": fraction, "labelled": labelled, "probe": 10}
    splits = draw(labels, None, groups, ids=ids, **options)
    again = draw([labels[i] for i in order], None, [groups[i] for i in order], ids=[ids[i] for i in order], **options)
    assert [splits.split[i] for i in order] == again.split
    assert [splits.probe[i] for i in order] == again.probe
    assert splits.notes == again.notes


@many
@given(sizes, st.integers(0, 99))
def test_fewer_labels_are_a_subset_of_more(counts: list[int], seed: int) -> None:
    labels = spread(counts, 2)
    chains = [
        ["1/class", "5/class", "20/class", "all"],
        ["5%", "10%", "33.3%", "100%"],
        ["1", "2", "9", "20", "1000"],
    ]
    for chain in chains:
        labelled = [members(draw(labels, labelled=text, seed=seed), "labelled") for text in chain]
        for fewer, more in itertools.pairwise(labelled):
            assert fewer <= more
        assert labelled[-1] == members(draw(labels, labelled="all", seed=seed), "labelled")


@many
@given(sizes, st.integers(1, 100))
def test_a_share_is_rounded_per_class_with_at_least_one(counts: list[int], percent: int) -> None:
    labels = spread(counts, 3)
    splits = draw(labels, labelled=f"{percent}%", test_fraction=0)
    per_class = Counter(labels[i] for i in members(splits, "labelled"))
    for label, count in Counter(labels).items():
        assert per_class[label] == max(1, math.floor(Fraction(count * percent, 100) + Fraction(1, 2)))


@many
@given(sizes, st.integers(1, 300))
def test_a_total_is_met_and_in_proportion(counts: list[int], total: int) -> None:
    labels = spread(counts, 4)
    per_class = Counter(labels[i] for i in members(draw(labels, labelled=str(total), test_fraction=0), "labelled"))
    assert sum(per_class.values()) == min(total, len(labels))
    if total >= len(counts):
        assert set(per_class) == set(labels)
    for label, count in enumerate(counts):
        assert per_class[label] <= count
        if per_class[label] > 1:  # beyond the first image, no class has a seat that a larger class lacks
            for other, more in enumerate(counts):
                assert other == label or more < count or per_class[other] >= per_class[label] - 1


def test_a_class_with_too_few_images_gives_all() -> None:
    splits = draw([0] * 3 + [1] * 9, labelled="5/class", test_fraction=0, classes=["ant", "bee"])
    assert len(members(splits, "labelled")) == 8
    assert any("fewer than 5" in note and "'ant'" in note for note in splits.notes)


@many
@given(sizes, st.floats(0.01, 0.9), st.integers(0, 9))
def test_the_test_part_is_stratified(counts: list[int], fraction: float, seed: int) -> None:
    labels = spread(counts, 5)
    per_class = Counter(labels[i] for i in members(draw(labels, test_fraction=fraction, seed=seed), "test"))
    for label, count in enumerate(counts):
        assert per_class[label] == (0 if count == 1 else min(count - 1, max(1, math.floor(count * fraction + 0.5))))


def test_a_given_test_part_is_used_as_it_is() -> None:
    splits = draw([0, 1] * 10, ["train"] * 15 + ["test"] * 5)
    assert members(splits, "test") == set(range(15, 20))


def test_no_test_part_for_a_fraction_of_zero() -> None:
    assert not members(draw(balanced(3, 10), test_fraction=0), "test")


def test_classes_are_drawn_independently() -> None:
    both = draw([0] * 50 + [1] * 40, labelled="5/class")
    alone = draw([0] * 50, labelled="5/class")
    assert both.split[:50] == alone.split


@many
@given(sizes, st.integers(1, 12), st.floats(0.05, 0.6), st.integers(0, 20))
def test_groups_stay_on_one_side_of_the_test_border(counts: list[int], groups: int, fraction: float, seed: int) -> None:
    labels = spread(counts, 6)
    names = [f"g{i}" for i in range(groups)]
    pick = random.Random(seed)
    group_of: list[str | None] = [pick.choice([*names, None]) for _ in labels]
    parts = [pick.choice(["train", "train", "train", "unlabelled"]) for _ in labels]
    splits = draw(labels, parts, group_of, test_fraction=fraction, seed=seed)
    for name in names:
        sides = {splits.split[i] == "test" for i in range(len(labels)) if group_of[i] == name}
        assert len(sides) <= 1
    assert all(parts[i] == "train" for i in members(splits, "test"))
    for label in set(labels):
        trained = [i for i in range(len(labels)) if labels[i] == label and parts[i] == "train"]
        assert not trained or any(splits.split[i] != "test" for i in trained)


def test_groups_come_near_the_share_of_each_class() -> None:
    labels: list[int | None] = [c for c in range(4) for _ in range(100)]
    groups: list[str | None] = [f"{c}-{i // 5}" for c in range(4) for i in range(100)]
    splits = draw(labels, None, groups, test_fraction=0.2)
    assert Counter(labels[i] for i in members(splits, "test")) == {0: 20, 1: 20, 2: 20, 3: 20}


def test_a_class_of_one_group_stays_in_train() -> None:
    splits = draw([0] * 10 + [1] * 10, None, ["one"] * 10 + [None] * 10)
    assert Counter(splits.split[:10]) == {"labelled": 10}
    assert any("class 0" in note for note in splits.notes)


def test_large_groups_still_give_test_images() -> None:
    splits = draw([0] * 20, None, ["a"] * 12 + ["b"] * 8, test_fraction=0.1)
    assert members(splits, "test") == set(range(12, 20))


def test_groups_across_given_parts_are_noted() -> None:
    splits = draw([0, 0, 1, 1], ["train", "test", "train", "test"], ["p", "p", "q", "r"])
    assert any("both sides" in note and "'p'" in note for note in splits.notes)


def test_labelled_counts_images_not_groups() -> None:
    splits = draw([0] * 20 + [1] * 20, None, ["p"] * 20 + ["q"] * 20, labelled="3/class", test_fraction=0)
    assert len(members(splits, "labelled")) == 6


def test_images_without_a_label_are_unlabelled() -> None:
    splits = draw([0, None, 1, 0, 1, None], ["train"] * 4 + ["unlabelled"] * 2, test_fraction=0)
    assert splits.split == ["labelled", "unlabelled", "labelled", "labelled", "unlabelled", "unlabelled"]


@many
@given(
    sizes,
    st.integers(4, 60),
    st.sampled_from([0, 2, 3, 5]),
    st.integers(0, 9),
    st.sampled_from(["all", "50%", "3/class"]),
)
def test_the_probe_is_labelled_with_two_of_every_class(
    counts: list[int], size: int, limit: int, seed: int, labelled: str
) -> None:
    labels = spread(counts, 7)
    splits = draw(labels, labelled=labelled, probe=size, probe_per_class=limit, seed=seed)
    probe = {i for i, flag in enumerate(splits.probe) if flag}
    assert probe <= members(splits, "labelled")
    per_class = Counter(labels[i] for i in probe)
    assert all(count >= 2 for count in per_class.values())
    assert not limit or all(count <= limit for count in per_class.values())
    room = {c: min(n, limit or n) for c, n in Counter(labels[i] for i in members(splits, "labelled")).items() if n > 1}
    if 2 * len(room) <= size:
        assert set(per_class) == set(room)
        assert len(probe) == min(size, sum(room.values()))
    else:
        assert len(per_class) == size // 2
        assert len(probe) == min(size, sum(room[c] for c in per_class))
        assert any(f"{size // 2} of the {len(room)} classes" in note for note in splits.notes)


def test_the_probe_is_proportional_to_class_size() -> None:
    splits = draw([0] * 600 + [1] * 300 + [2] * 100, probe=100, test_fraction=0)
    per_class = Counter(
        label for label, flag in zip([0] * 600 + [1] * 300 + [2] * 100, splits.probe, strict=True) if flag
    )
    assert per_class == {0: 60, 1: 30, 2: 10}


def test_a_class_with_one_labelled_image_leaves_the_probe() -> None:
    splits = draw([0] + [1] * 9, probe="all", test_fraction=0, classes=["ant", "bee"])
    assert splits.probe == [False] + [True] * 9
    assert any("single labelled image: class 'ant'" in note for note in splits.notes)


def test_all_labelled_images_can_be_the_probe() -> None:
    splits = draw(balanced(5, 8), probe="all")
    assert splits.probe == [split == "labelled" for split in splits.split]
    assert not splits.notes


@pytest.mark.parametrize(
    "options",
    [{"probe": 3}, {"probe": "some"}, {"probe_per_class": 1}, {"probe_per_class": -1}, {"test_fraction": 1.0}],
)
def test_impossible_draws_are_usage_errors(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        draw(balanced(2, 9), **options)


def test_repeated_ids_are_named() -> None:
    with pytest.raises(ContractError, match=r"1 ids are repeated, e\.g\. 'a'"):
        draw([0, 0, 1], ids=["a", "b", "a"])


def test_seeds_draw_different_images() -> None:
    labels = balanced(4, 50)
    assert draw(labels, labelled="10%", seed=0).split != draw(labels, labelled="10%", seed=1).split


def test_the_draw_is_pinned() -> None:
    splits = draw(balanced(2, 6), labelled="2/class", probe=4, seed=3)
    assert "".join(split[0] for split in splits.split) == "uluutlululut"
    assert sum(splits.probe) == 4


def test_duplicates_and_leaks_are_counted() -> None:
    notes = find_duplicates(["a", "b", "c", "d"], ["labelled", "test", "test", "unlabelled"], ["x", "x", "y", "x"])
    assert len(notes) == 2
    assert "1 image occurs under more than one id" in notes[0]
    assert "1 test image is also among" in notes[1]
    assert '"b"' in notes[1]
    assert find_duplicates(["a", "b"], ["labelled", "test"], ["x", "y"]) == []
