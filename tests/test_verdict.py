"""The verdict on hand-written tables, and its error rate on simulated probe sets."""

import numpy as np
import pytest

from zoo_cli.ranking import verdict
from zoo_cli.ranking.verdict import judge_sources

B = 400


def replicates(values: list[float], spread: float, seed: int = 0, common: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    own = rng.standard_normal((len(values), B)) * spread
    return np.array(values)[:, None] + own + common * rng.standard_normal(B)


def test_source_far_above_the_others_is_the_best() -> None:
    values = [0.5, 0.3, 0.01]
    result = judge_sources(["a", "b", "c"], np.array(values), replicates(values, 0.02), np.zeros(3))
    assert (result.kind, result.names, result.fits) == ("best", ("a",), ("a", "b"))
    assert result.sentence == "a is clearly the best source; b fits too"


def test_sources_within_their_uncertainty_tie() -> None:
    values = [0.50, 0.49, 0.2]
    result = judge_sources(["a", "b", "c"], np.array(values), replicates(values, 0.02), np.zeros(3))
    assert (result.kind, result.names) == ("tie", ("a", "b"))
    assert result.sentence.startswith("a tie of a and b: ")


def test_shared_noise_does_not_make_a_tie() -> None:
    values = [0.50, 0.45]
    draws = replicates(values, 0.005, common=0.2)
    assert judge_sources(["a", "b"], np.array(values) + 2, draws + 2, np.zeros(2)).kind == "best"


def test_sources_at_the_chance_level_do_not_fit() -> None:
    values = [0.01, 0.02]
    result = judge_sources(["a", "b"], np.array(values), replicates(values, 0.02), np.zeros(2))
    assert (result.kind, result.names, result.sentence) == ("none", (), verdict.NO_GAIN)


def test_sources_no_better_than_the_student_do_not_fit() -> None:
    values = [0.5, 0.4]
    draws = replicates(values, 0.02)
    student = (0.5, replicates([0.5], 0.02, seed=1)[0])
    assert judge_sources(["a", "b"], np.array(values), draws, np.zeros(2), student).kind == "none"
    assert judge_sources(["a", "b"], np.array(values), draws, np.zeros(2), (0.1, student[1] - 0.4)).kind == "best"


def test_undefined_sources_are_ignored_or_unknown() -> None:
    values = np.array([np.nan, 0.5])
    draws = np.vstack([np.full(B, np.nan), replicates([0.5], 0.02)])
    assert judge_sources(["a", "b"], values, draws, np.array([np.nan, 0.0])).names == ("b",)
    assert judge_sources(["a"], values[:1], draws[:1], np.zeros(1)).kind == "unknown"


def test_score_without_chance_level_only_orders() -> None:
    values = [0.5, 0.3]
    result = judge_sources(["a", "b"], np.array(values), replicates(values, 0.02), np.full(2, np.nan))
    assert (result.kind, result.names, result.fits) == ("best", ("a",), ())
    assert result.sentence.endswith("(this score cannot say whether a source fits)")


def test_long_lists_are_cut() -> None:
    values = [0.5] * 8
    result = judge_sources([f"s{k}" for k in range(8)], np.array(values), replicates(values, 0.02), np.zeros(8))
    assert "s0, s1, s2, s3, s4 and 3 more" in result.sentence


@pytest.mark.parametrize("count", [1, 10, 50])
def test_useless_sources_fit_in_5_percent_at_most(count: int) -> None:
    rng = np.random.default_rng(5)
    wrong = 0
    for trial in range(400):
        values = rng.standard_normal(count) * 0.02
        draws = replicates(values.tolist(), 0.02, seed=trial)
        wrong += judge_sources([f"s{k}" for k in range(count)], values, draws, np.zeros(count)).kind != "none"
    assert wrong / 400 <= 0.075  # 0.05 plus about two standard errors of 400 trials
