"""How flips concentrate: against slow references, and what must hold for all counts."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from zoo_cli.evaluation import flip_concentration

COUNTS = arrays.arrays(np.int64, st.integers(2, 7), elements=st.integers(0, 9))


@given(COUNTS)
def test_no_smaller_set_holds_as_many_flips(counts: np.ndarray) -> None:
    total = int(counts.sum())
    for share in flip_concentration.SHARES:
        chosen = flip_concentration.smallest_set(counts, share)
        if not total:
            assert not len(chosen)
            continue
        assert counts[chosen].sum() >= share / 100 * total - 1e-9
        smaller = combinations(range(len(counts)), len(chosen) - 1)
        assert all(100 * counts[list(other)].sum() < share * total for other in smaller)


@given(COUNTS, st.lists(st.floats(0.1, 100), min_size=2, max_size=5))
def test_sets_are_nested_for_growing_shares(counts: np.ndarray, shares: list[float]) -> None:
    sets = [flip_concentration.smallest_set(counts, share) for share in sorted(shares)]
    for smaller, larger in pairwise(sets):
        assert larger[: len(smaller)].tolist() == smaller.tolist()


def test_full_share_is_every_class_with_a_flip() -> None:
    assert flip_concentration.smallest_set(np.array([0, 3, 0, 1, 5]), 100).tolist() == [4, 1, 3]


def test_ties_are_in_label_order() -> None:
    assert flip_concentration.smallest_set(np.array([1, 2, 2, 1]), 50).tolist() == [1, 2]
    assert flip_concentration.smallest_set(np.array([1, 1, 1, 1]), 50).tolist() == [0, 1]


def test_exact_share_needs_no_further_class() -> None:
    # 2 % of 50 is one flip, 20 % ten; in floats 0.2 * 50 and 0.02 * 50 would be as likely to miss as to hit.
    counts = np.array([10, 10, 10, 10, 10])
    assert [len(flip_concentration.smallest_set(counts, share)) for share in (2, 20, 40, 60, 100)] == [1, 1, 2, 3, 5]


@given(COUNTS)
def test_entropy_equals_scipy_normalised(counts: np.ndarray) -> None:
    entropy = float(flip_concentration.entropy(counts))
    if not counts.sum():
        assert np.isnan(entropy)
    else:
        assert np.isclose(entropy, stats.entropy(counts) / np.log(len(counts)))
        assert 0 <= entropy <= 1


def test_entropy_of_one_class_and_of_even_flips() -> None:
    assert np.allclose(flip_concentration.entropy(np.array([[0, 7, 0], [2, 2, 2]])), [0, 1], rtol=0, atol=1e-12)
    assert np.isnan(flip_concentration.entropy(np.array([4])))


def test_concentration_draws_without_replacement() -> None:
    errors, counts = np.array([12, 6, 3, 1, 0, 8]), np.array([7, 1, 0, 1, 0, 2])
    result = flip_concentration.concentration(counts, errors)
    assert result is not None
    # The slow way: list every error, shuffle, take as many as flipped.
    random = np.random.default_rng(3)
    error_classes = np.repeat(np.arange(6), errors)
    slow = [np.bincount(random.permutation(error_classes)[: counts.sum()], minlength=6) for _ in range(4000)]
    evenness = [stats.entropy(draw) / np.log(6) for draw in slow]
    half = [len(flip_concentration.smallest_set(draw, 50)) for draw in slow]
    for key, values, width in (("entropy", evenness, 0.01), ("half", half, 0.06)):
        assert abs(getattr(result, key).mean - np.mean(values)) < width
    assert abs(result.entropy.low - np.quantile(evenness, 0.025)) < 0.03
    assert result.half.value == 1
    p = np.mean(np.array(evenness) <= result.entropy.value)
    assert abs(result.entropy.p - p) < 0.03
    assert (result.flips, result.errors, result.classes, result.draws) == (11, 30, 6, 1000)


def test_p_is_calibrated_and_small_for_one_class() -> None:
    random = np.random.default_rng(0)
    errors = random.integers(1, 25, 20)
    draws = random.multivariate_hypergeometric(errors, 60, size=200)
    p = np.array([flip_concentration.concentration(counts, errors).entropy.p for counts in draws])  # type: ignore[union-attr]
    assert 0.4 < p.mean() < 0.6
    assert (p <= 0.05).mean() < 0.1
    single_class = np.where(np.arange(20) == errors.argmax(), errors, 0)
    result = flip_concentration.concentration(single_class, errors)
    assert result is not None
    assert result.entropy.p == result.half.p == 1 / 1001


@given(COUNTS)
@settings(deadline=None, max_examples=30)
def test_perfect_teacher_equals_every_draw(errors: np.ndarray) -> None:
    result = flip_concentration.concentration(errors, errors)
    if not errors.sum():
        assert result is None
    else:
        assert result is not None
        assert result.entropy.p == result.half.p == 1
        assert result.entropy.low == result.entropy.high == result.entropy.value


def test_draws_follow_the_seed() -> None:
    counts, errors = np.array([3, 1, 2]), np.array([9, 8, 7])
    assert flip_concentration.concentration(counts, errors) == flip_concentration.concentration(counts, errors)
    assert flip_concentration.concentration(counts, errors) != flip_concentration.concentration(counts, errors, seed=1)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def test_similarity_equals_a_loop_over_pairs() -> None:
    vectors = np.random.default_rng(1).normal(size=(9, 4))
    groups = [np.array([5, 2, 7]), np.array([8, 0]), np.array([4]), np.array([], int)]
    similarities = flip_concentration.set_similarity(groups, vectors)
    for group, result in zip(groups, similarities, strict=True):
        pairs = [cosine(vectors[i], vectors[j]) for i, j in combinations(group.tolist(), 2)]
        if not pairs:
            assert result is None
            continue
        assert result is not None
        assert np.isclose(result.mean.value, np.mean(pairs))
        assert np.isclose(result.max.value, np.max(pairs))
        # All groups of the size, instead of 1,000 random ones.
        every = np.array(
            [
                [cosine(vectors[i], vectors[j]) for i, j in combinations(other, 2)]
                for other in combinations(range(9), len(group))
            ]
        )
        for key, values in (("mean", every.mean(1)), ("max", every.max(1))):
            comparison = getattr(result, key)
            assert abs(comparison.mean - values.mean()) < 0.06
            assert abs(comparison.p - (values >= comparison.value - 1e-12).mean()) < 0.06
            assert abs(comparison.percentile - stats.percentileofscore(values, comparison.value, "mean")) < 6


def test_group_of_all_classes_is_average() -> None:
    vectors = np.random.default_rng(2).normal(size=(40, 7))
    (result,) = flip_concentration.set_similarity([np.random.default_rng(3).permutation(40)], vectors)
    assert result is not None
    for key in ("mean", "max"):
        assert (getattr(result, key).p, getattr(result, key).percentile) == (1.0, 50.0)


def test_similar_classes_have_a_small_p() -> None:
    random = np.random.default_rng(4)
    vectors = random.normal(size=(30, 8))
    vectors[:4] = vectors[0] + 0.1 * random.normal(size=(4, 8))
    like, unlike = flip_concentration.set_similarity([np.arange(4), np.array([9, 15, 21, 27])], vectors)
    assert like is not None
    assert unlike is not None
    assert like.mean.p < 0.01 < unlike.mean.p


def test_length_of_vectors_does_not_matter() -> None:
    vectors = np.random.default_rng(5).normal(size=(6, 3))
    longer = vectors * np.array([1, 2, 4, 8, 16, 0.5])[:, None]
    group = [np.array([0, 3, 4])]
    assert flip_concentration.set_similarity(group, vectors) == flip_concentration.set_similarity(group, longer)


@given(arrays.arrays(np.int64, (3, 6), elements=st.integers(0, 8)))
def test_uptake_equals_a_loop_over_classes(table: np.ndarray) -> None:
    table = np.sort(table, axis=0)  # taken is part of what was offered, and of what was gained
    taken, offered, gained = table
    total = offered.sum()
    for row in flip_concentration.class_uptake(offered, taken, gained):
        order = sorted(range(6), key=lambda c: (-offered[c], c))
        covered, chosen = 0, []
        while total and 100 * covered < row.share * total:
            chosen.append(order[len(chosen)])
            covered += offered[chosen[-1]]
        assert row.classes.tolist() == chosen
        sums = [sum(values[c] for c in chosen) for values in table]
        assert [row.transferred, row.offered, row.gained] == sums
        if not total:
            assert row.transfer_rate is row.class_transfer_rate is None
        else:
            assert row.transfer_rate == sums[0] / sums[1] <= 1
            assert row.class_transfer_rate == sums[2] / sums[1] >= row.transfer_rate


def test_more_flips_than_errors_fail() -> None:
    with pytest.raises(AssertionError, match="more flips than errors"):
        flip_concentration.concentration(np.array([2, 1]), np.array([1, 2]))
