"""PARC: ties, single precision for large probes, and the leave-one-out scores."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import rankdata

from zoo_cli import specs
from zoo_cli.errors import Undefined, UsageError
from zoo_cli.metrics import kept_pairs, pairs
from zoo_cli.metrics import parc as module
from zoo_cli.metrics.probe import Probe
from zoo_cli.ranking import uncertainty
from zoo_cli.registry import METRICS

from . import references
from .probes import features, one_hot, score

Array = NDArray[Any]


def parc(x: Array, y: Array, **params: Any) -> float:
    return score("parc", x, y, **params)


def rsa(x: Array, y: Array) -> float:
    return score("rsa", x, y)


def leave_one_out(x: Array, y: Array, **params: Any) -> Array:
    return module.leave_one_out(Probe.of(x, y), **params)


@pytest.fixture
def single(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat every probe as a large one."""
    monkeypatch.setattr(pairs, "FLOAT64_ROWS", 0)
    monkeypatch.setattr(pairs, "FLOAT64_WIDTH", 0)


def without_each(x: Array, y: Array, normalized: bool) -> list[float]:
    """Slowly: the distances of the whole probe without those of each sample, ranked again."""
    wide = x.astype(np.float64)
    rows = (wide - wide.mean(axis=0)) / np.where(np.ptp(wide, axis=0) > 0, wide.std(axis=0), 1)
    distance = np.round(1 - np.corrcoef(rows), 11)
    results = []
    for left_out in range(len(y)):
        kept = np.delete(np.arange(len(y)), left_out)
        upper = np.triu_indices(len(kept), 1)
        near = rankdata(-distance[np.ix_(kept, kept)][upper])
        same = (y[kept][:, None] == y[kept])[upper]
        if normalized:
            count, pairs_of_class = len(same), same.sum()
            above = near[same].sum() - pairs_of_class * (pairs_of_class + 1) / 2
            results.append(2 * above / (pairs_of_class * (count - pairs_of_class)) - 1)
        else:
            results.append(np.corrcoef(near, same)[0, 1])
    return results


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("sizes", [(8, 8, 8), (12, 5, 2, 1), (20, 4)])
def test_leave_one_out_equals_slow_reference(sizes: tuple[int, ...], normalized: bool) -> None:
    x, y = features(sizes, 7, seed=3)
    fast = leave_one_out(x, y, normalized=normalized)
    np.testing.assert_allclose(fast, without_each(x, y, normalized), atol=1e-12)


def test_leave_one_out_with_ties_is_nearly_exact() -> None:
    x, y = features((12, 9, 6), 7, seed=3)
    x[:4] = x[10]
    np.testing.assert_allclose(leave_one_out(x, y, normalized=True), without_each(x, y, True), atol=1e-12)
    np.testing.assert_allclose(leave_one_out(x, y), without_each(x, y, False), atol=1e-4)


def test_leave_one_out_is_the_same_without_ranking_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = features((12, 9, 6, 1), 7, seed=3)
    x[:4] = x[10]
    ranked = leave_one_out(x, y)
    monkeypatch.setattr(kept_pairs, "RANKED", 0)
    np.testing.assert_allclose(leave_one_out(x, y), ranked, atol=1e-12)


def test_leave_one_out_is_in_sample_order() -> None:
    x, y = features((9, 6, 4), 7)
    order = np.random.default_rng(0).permutation(len(y))
    np.testing.assert_allclose(leave_one_out(x[order], y[order]), leave_one_out(x, y)[order], atol=1e-12)


def test_leave_one_out_spreads_as_with_restandardising() -> None:
    x, y = features((40, 40, 40), 20, seed=1)
    again = [parc(np.delete(x, i, axis=0), np.delete(y, i)) for i in range(len(y))]
    fast = leave_one_out(x, y)
    assert np.corrcoef(fast, again)[0, 1] > 0.95
    assert fast.std() == pytest.approx(np.std(again), rel=0.15)


def test_leave_one_out_is_nan_without_same_class_pair() -> None:
    x, y = features((2, 1, 1, 1), 7)
    missing = np.isnan(leave_one_out(x, y))
    np.testing.assert_array_equal(missing, y == 0)


def test_leave_one_out_uses_parameters_of_the_score() -> None:
    x, y = features((30, 30), 16)
    for params in ({"pca": 4}, {"cosine": True}, {"pca": 4, "cosine": True}):
        assert np.mean(leave_one_out(x, y, **params)) == pytest.approx(parc(x, y, **params), abs=0.01)
    with pytest.raises(Undefined, match="constant_features"):
        leave_one_out(np.arange(60.0)[:, None], y)


@pytest.mark.usefixtures("single")
def test_float32_changes_scores_by_less_than_1e_6() -> None:
    x, y = features((60, 50, 40, 30, 20), 128, apart=0.3)
    rows = pairs.unit_rows(x)
    assert rows.dtype == np.float32
    fast = parc(x, y), rsa(x, y), leave_one_out(x, y)
    pairs.FLOAT64_ROWS = 1000  # the fixture restores it
    assert pairs.unit_rows(x).dtype == np.float64
    slow = parc(x, y), rsa(x, y), leave_one_out(x, y)
    for float32, float64 in zip(fast, slow, strict=True):
        np.testing.assert_allclose(float32, float64, atol=1e-6)


@pytest.mark.usefixtures("single")
def test_equal_rows_are_compared_in_float64() -> None:
    x, _ = features((60, 50, 40), 128)
    assert not pairs.needs_float64(x)
    x[100] = x[3]
    assert pairs.needs_float64(x)


def test_large_probes_are_float32_unless_rows_repeat() -> None:
    x = np.random.default_rng(0).standard_normal((pairs.FLOAT64_ROWS + 1, pairs.FLOAT64_WIDTH)).astype(np.float32)
    assert not pairs.needs_float64(x)
    assert pairs.needs_float64(x[1:])
    assert pairs.needs_float64(x[:, 1:])
    x[-1] = x[17]
    assert pairs.needs_float64(x)


@pytest.mark.slow
def test_a_large_probe_of_equal_rows_keeps_all_its_ties() -> None:
    y = np.arange(2500) % 100
    x = one_hot(y)
    assert parc(x, y, normalized=True) == pytest.approx(1.0, abs=1e-12)
    # All distances take two values, so that the ranks agree completely.
    assert parc(x, y) == pytest.approx(1.0, abs=1e-12)
    assert rsa(x, y) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rank_variance_is_that_of_mid_ranks_across_chunks(dtype: type) -> None:
    draw = np.random.default_rng(0)
    for values in (
        draw.standard_normal(50),
        draw.integers(0, 6, 300) / 8,
        np.zeros(40),
        np.repeat([0.0, 1.0], [1, 30]),
    ):
        ordered = np.sort(values.astype(dtype))
        ranks = rankdata(ordered)
        assert pairs.rank_variance(ordered) == pytest.approx(((ranks - ranks.mean()) ** 2).sum(), abs=1e-9)
    long = np.sort(draw.integers(0, 50, (1 << 21) + 3) / 64).astype(dtype)
    sizes = np.unique(long, return_counts=True)[1].astype(float)
    count = float(len(long))
    assert pairs.rank_variance(long) == pytest.approx((count**3 - count - (sizes**3 - sizes).sum()) / 12, rel=1e-12)


@pytest.mark.parametrize("whole", [0, 1024])
def test_similarities_come_row_by_row_across_tiles(monkeypatch: pytest.MonkeyPatch, whole: int) -> None:
    monkeypatch.setattr(pairs, "WHOLE", whole)
    rows = np.random.default_rng(0).standard_normal((pairs.TILE + 40, 5))
    expected = (rows @ rows.T)[np.triu_indices(len(rows), 1)]
    np.testing.assert_allclose(pairs.similarities(rows), expected, atol=1e-12)
    starts = pairs.row_starts(len(rows))
    assert pairs.similarities(rows)[starts[280]] == pytest.approx(rows[280] @ rows[281])


@pytest.mark.slow
def test_rsa_of_large_probe_counts_ties_across_chunks() -> None:
    draw = np.random.default_rng(0)
    y = draw.integers(0, 5, 1800)
    x = draw.integers(0, 2, (1800, 3)).astype(np.float64)
    upper = np.triu_indices(1800, 1)

    def similarity(values: Array) -> Array:
        rows = references.standardise(values)
        rows = rows - rows.mean(axis=1, keepdims=True)
        length = np.sqrt((rows**2).sum(axis=1, keepdims=True))
        rows = np.where(length > 1e-9, rows / np.where(length > 1e-9, length, 1), 0)
        return np.round((rows @ rows.T)[upper], 9)

    expected = references.spearman(list(-similarity(x)), list(-similarity(references.one_hot(y))))
    assert rsa(x, y) == pytest.approx(expected, abs=1e-9)


def test_a_negative_number_of_components_is_refused() -> None:
    x, y = features((9, 6), 7)
    with pytest.raises(UsageError, match="pca=-1"):
        parc(x, y, pca=-1)


def slow_pair_variance(x: Array, y: Array) -> float:
    """Least squares in every pair of classes: an effect of each sample, and what is left over of each pair."""
    wide = (x - x.mean(axis=0)) / x.std(axis=0)
    rows, columns = np.triu_indices(len(y), 1)
    near = rankdata(np.round(np.corrcoef(wide)[rows, columns], 11))
    same = (y[rows] == y[columns]).astype(float)
    terms = (near - near.mean()) / near.std() * (same - same.mean()) / same.std() / len(near)
    squares, freedom = {0: 0.0, 1: 0.0}, {0: 0, 1: 0}
    for a in np.unique(y):
        for b in np.unique(y[y >= a]):
            block = np.flatnonzero((np.minimum(y[rows], y[columns]) == a) & (np.maximum(y[rows], y[columns]) == b))
            if a == b and (y == a).sum() < 4:
                continue
            design = np.zeros((len(block), len(y)))
            design[np.arange(len(block)), rows[block]] = 1
            design[np.arange(len(block)), columns[block]] = 1
            residuals = terms[block] - design @ np.linalg.lstsq(design, terms[block], rcond=None)[0]
            squares[int(a == b)] += float(residuals @ residuals)
            freedom[int(a == b)] += len(block) - np.linalg.matrix_rank(design)
    counts = {0: (same == 0).sum(), 1: (same == 1).sum()}
    return sum(squares[kind] * counts[kind] / freedom[kind] for kind in (0, 1) if freedom[kind])


@pytest.mark.parametrize("sizes", [(8, 8, 8), (12, 5, 2, 1), (3, 3, 3, 3), (20, 4)])
def test_pair_variance_equals_slow_reference(sizes: tuple[int, ...]) -> None:
    x, y = features(sizes, 7, seed=3)
    fast = module.pair_variance(Probe.of(x, y))
    assert fast == pytest.approx(slow_pair_variance(x, y), rel=1e-9)
    assert module.pair_variance(Probe.of(x, y), normalized=True) == pytest.approx(
        fast / module.ceiling(Probe.of(x, y)) ** 2
    )


def test_error_of_useless_features_is_their_spread() -> None:
    """Without any signal all variance belongs to pairs: the jackknife doubles it, the error of the verdict does not."""
    y = np.arange(60) % 4
    values, errors, widths = [], [], []
    for seed in range(60):
        x = np.random.default_rng(seed).standard_normal((60, 20))
        (estimate,) = uncertainty.estimate_scores(
            [(specs.resolve("metric", "parc"), METRICS["parc"])], Probe.of(x, y), seed=0
        )
        values.append(estimate.value)
        errors.append(estimate.error)
        widths.append((estimate.high - estimate.low) / 2 / uncertainty.QUANTILE)
    spread = np.std(values, ddof=1)
    assert np.mean(errors) / spread == pytest.approx(1.0, abs=0.25)  # 60 draws: 9 % standard error
    assert np.mean(widths) > 1.2 * np.mean(errors)


def test_large_probes_do_not_tell_pairs_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = features((8, 8, 8), 7, seed=3)
    monkeypatch.setattr(module, "PAIR_ROWS", 23)
    assert module.pair_variance(Probe.of(x, y)) == 0.0
