"""The search of `zoo tune` on simulated students: how often it finds a planted gain, and how often one that is not."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pytest

from tests.evaluate.simulated_search import NAMES, simulate_search
from zoo_cli.evaluation import tuning
from zoo_cli.evaluation.named_runs import LABELS_ONLY
from zoo_cli.evaluation.tuning import HoldOut, SearchResult, Trial, hold_out_gain, run_search

LABELS = 300


def test_planted_gain_is_chosen_in_8_of_10_draws() -> None:
    chosen = [simulate_search(seed, {"c": 0.1}, labels=LABELS).chosen for seed in range(60)]
    assert chosen.count("c") >= 48
    assert set(chosen) <= {"c", LABELS_ONLY}


@pytest.mark.parametrize("labels", [40, LABELS])
def test_labels_only_is_kept_in_19_of_20_draws_without_a_gain(labels: int) -> None:
    chosen = [simulate_search(1000 + seed, {}, labels=labels).chosen for seed in range(100)]
    assert chosen.count(LABELS_ONLY) >= 95


def test_labels_only_is_kept_where_training_varies_much() -> None:
    chosen = [simulate_search(2000 + seed, {}, labels=LABELS, training=0.08).chosen for seed in range(60)]
    assert chosen.count(LABELS_ONLY) >= 57


def test_losers_are_never_chosen() -> None:
    losses = dict.fromkeys(NAMES, -0.05)
    assert {simulate_search(3000 + seed, losses, labels=LABELS).chosen for seed in range(20)} == {LABELS_ONLY}


def test_interval_of_few_labels_covers_the_true_gain() -> None:
    gains = [simulate_search(4000 + seed, {"c": 0.1}, labels=60).gains["c"] for seed in range(40)]
    assert sum(gain.low <= 0.1 <= gain.high for gain in gains) >= 38


def answer_always(accuracies: Mapping[str, float], splits: int, held_out: int = 10) -> SearchResult:
    """A search in which a candidate is right on the same number of images of every split; NaN: it diverges."""
    hold_outs = [HoldOut(np.arange(split * held_out, (split + 1) * held_out), 200) for split in range(splits)]

    def evaluate(trials: Sequence[Trial]) -> dict[Trial, np.ndarray | str]:
        right: dict[Trial, np.ndarray | str] = {}
        for trial in trials:
            accuracy = accuracies[trial.candidate]
            right[trial] = "diverged" if math.isnan(accuracy) else np.arange(held_out) < accuracy * held_out
        return right

    return run_search([name for name in accuracies if name != LABELS_ONLY], hold_outs, evaluate)


def test_half_of_the_candidates_goes_on() -> None:
    result = answer_always({LABELS_ONLY: 0.5, "a": 0.5, "b": 0.6, "c": 0.4, "d": 0.5}, 8)
    assert [(drop.candidate, drop.splits) for drop in result.dropped] == [("c", 2), ("d", 2), ("a", 4)]
    assert {name: len(values) for name, values in result.accuracies.items()} == {
        LABELS_ONLY: 8,
        "a": 4,
        "b": 8,
        "c": 2,
        "d": 2,
    }
    assert result.best == "b"


def test_certain_losers_are_dropped_before_the_half() -> None:
    result = answer_always({LABELS_ONLY: 0.9, "a": 0.1, "b": 0.2, "c": 0.1}, 16)
    assert [drop.reason for drop in result.dropped] == [f"worse than {LABELS_ONLY}"] * 3
    assert (result.best, result.chosen, result.certain) == (None, LABELS_ONLY, False)
    assert len(result.accuracies[LABELS_ONLY]) == 4


def test_diverged_candidate_is_dropped() -> None:
    result = answer_always({LABELS_ONLY: 0.5, "a": math.nan, "b": 0.6}, 8)
    assert [(drop.candidate, drop.reason) for drop in result.dropped] == [("a", "diverged")]
    assert "a" not in result.gains
    assert not result.accuracies["a"]


def test_equal_gains_of_few_images_are_not_certain() -> None:
    assert answer_always({LABELS_ONLY: 0.5, "a": 1.0}, 2, held_out=2).chosen == LABELS_ONLY
    assert answer_always({LABELS_ONLY: 0.5, "a": 0.8}, 20).chosen == "a"


def test_returning_images_do_not_narrow_the_interval() -> None:
    rng = np.random.default_rng(0)
    differences = rng.integers(-1, 2, 20).astype(float)
    once = hold_out_gain([differences], [HoldOut(np.arange(20), 80)], 0.05)
    often = hold_out_gain([differences] * 8, [HoldOut(np.arange(20), 80)] * 8, 0.05)
    assert often.mean == once.mean
    assert often.high - often.low == pytest.approx(once.high - once.low)


def test_variation_of_the_training_widens_the_interval() -> None:
    splits = [HoldOut(np.arange(split * 40, split * 40 + 40), 160) for split in range(6)]
    steady = [np.resize([1.0, 0.0, 0.0, 0.0], 40) for _ in splits]
    varying = [np.resize([1.0, share, 0.0, 0.0], 40) for share in (1.0, 0.0, -1.0, 1.0, 0.0, -1.0)]
    narrow, wide = hold_out_gain(steady, splits, 0.05), hold_out_gain(varying, splits, 0.05)
    assert narrow.mean == wide.mean
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_more_candidates_widen_the_interval() -> None:
    splits = [HoldOut(np.arange(40), 160)] * 4
    differences = [np.resize([1.0, 0.0, 0.0, -1.0], 40)] * 4
    assert hold_out_gain(differences, splits, 0.05 / 8).high > hold_out_gain(differences, splits, 0.05).high


@pytest.mark.parametrize("candidates", [1, 2, 3, 6, 8, 31])
@pytest.mark.parametrize("splits", [4, 7, 20])
def test_rounds_cover_all_splits_once(candidates: int, splits: int) -> None:
    rounds = tuning.plan_rounds(candidates, splits)
    assert rounds[0].begin == 0
    assert rounds[0].candidates == candidates
    assert rounds[-1].end == splits
    assert all(after.begin == before.end > before.begin for before, after in pairwise(rounds))


def test_budget_gives_the_most_splits_that_fit() -> None:
    for runs in range(20, 120):
        splits = tuning.choose_splits(6, runs)
        if splits is None:
            assert runs < tuning.count_runs(6, tuning.LEAST_SPLITS)
        else:
            assert tuning.count_runs(6, splits) <= runs
            assert splits == tuning.MOST_SPLITS or tuning.count_runs(6, splits + 1) > runs
