"""Several metrics as one."""

import numpy as np
from scipy import stats

from zoo_cli.ranking import aggregation

SCORES = np.array([[0.3, 0.1, 0.2, 0.1], [-1.0, -3.0, -2.0, -2.0]])


def test_z_scores_equal_scipy() -> None:
    assert np.allclose(aggregation.standardised(SCORES), stats.zscore(SCORES, axis=1, ddof=1))
    assert np.allclose(aggregation.mean_z(SCORES), stats.zscore(SCORES, axis=1, ddof=1).mean(axis=0))


def test_undefined_sources_stay_undefined_and_move_no_other() -> None:
    more = np.hstack([SCORES, [[np.nan], [5.0]]])
    assert np.isnan(aggregation.mean_z(more)[4])
    assert np.allclose(aggregation.standardised(more)[0, :4], aggregation.standardised(SCORES)[0])


def test_a_metric_that_tells_nothing_counts_nothing() -> None:
    flat = np.vstack([SCORES, np.full((1, 4), 7.0)])
    assert np.allclose(aggregation.standardised(flat)[2], 0)


def test_borda_counts_those_left_behind_and_ties_half() -> None:
    assert aggregation.borda(SCORES).tolist() == [6.0, 0.5, 3.5, 2.0]
    assert aggregation.borda(np.array([[1.0, np.nan, 0.0]])).tolist() == [2.0, 0.0, 1.0]


def test_replicates_at_the_scores_are_the_mean_z() -> None:
    draws = np.repeat(SCORES[:, :, None], 3, axis=2)
    assert np.allclose(aggregation.mean_z_draws(SCORES, draws), aggregation.mean_z(SCORES)[:, None])


def test_plasticity_adds_a_fiftieth_of_the_depth() -> None:
    depth = np.array([50.0, 18.0, 101.0, np.nan])
    found = aggregation.plasticity(SCORES[0], depth)
    assert np.allclose(found[:3], stats.zscore(SCORES[0], ddof=1)[:3] + depth[:3] / 50)
    assert np.isnan(found[3])
