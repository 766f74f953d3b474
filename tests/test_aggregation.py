"""Several metrics combined into one score."""

import numpy as np
from scipy import stats

from zoo_cli.ranking import aggregation

SCORES = np.array([[0.3, 0.1, 0.2, 0.1], [-1.0, -3.0, -2.0, -2.0]])


def mean_z(scores: np.ndarray) -> np.ndarray:
    """The mean z-scores (S,) of scores (M, S): their own only replicate."""
    return aggregation.mean_z_draws(scores, scores[:, :, None])[:, 0]


def test_z_scores_equal_scipy() -> None:
    z = stats.zscore(SCORES, axis=1, ddof=1)
    assert np.allclose(mean_z(SCORES), z.mean(axis=0))
    for row, expected in zip(SCORES, z, strict=True):
        assert np.allclose(mean_z(row[None]), expected)


def test_undefined_source_stays_undefined() -> None:
    more = np.hstack([SCORES, [[np.nan], [5.0]]])
    assert np.isnan(mean_z(more)[4])
    assert np.allclose(mean_z(more[:1])[:4], mean_z(SCORES[:1]))


def test_equal_scores_have_z_zero() -> None:
    flat = np.full((1, 4), 7.0)
    assert np.allclose(mean_z(flat), 0)
    assert np.allclose(mean_z(np.vstack([SCORES, flat])), mean_z(SCORES) * 2 / 3)


def test_borda_counts_beaten_sources_and_half_ties() -> None:
    assert aggregation.borda(SCORES).tolist() == [6.0, 0.5, 3.5, 2.0]
    assert aggregation.borda(np.array([[1.0, np.nan, 0.0]])).tolist() == [2.0, 0.0, 1.0]


def test_replicates_at_the_scores_are_the_mean_z() -> None:
    draws = np.repeat(SCORES[:, :, None], 3, axis=2)
    assert np.allclose(aggregation.mean_z_draws(SCORES, draws), mean_z(SCORES)[:, None])


def test_replicates_have_the_scale_of_the_scores() -> None:
    draws = SCORES[:, :, None] + np.array([0.0, 1.0])
    shift = (1 / SCORES.std(axis=1, ddof=1)).mean()
    assert np.allclose(np.diff(aggregation.mean_z_draws(SCORES, draws), axis=1), shift)
