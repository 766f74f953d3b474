"""What must hold for every weighting of the table, and the formulas of each."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from zoo_cli import registry, specs
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.ranking.standings import effective_number

Array = NDArray[Any]

SPECS = (
    "power",
    "p=0",
    "p=1",
    "p=2.5",
    "p=inf",
    "equal",
    "nearest",
    "softmax:T=0.1",
    "softmax:T=inf",
    "topk",
    "topk:k=2,p=1",
    "topk:k=3,p=0",
    "topk:k=99,p=inf",
    "random",
    "random:seed=3,k=2",
    "inverse",
    "inverse:p=3",
    "inverse:form=complement",
    "inverse:form=complement,p=inf",
)
# Does not read scores: see tests/weighting/test_file.py.
NOT_FROM_SCORES = {"file"}
# Not monotone in the score: random, or inverted.
NOT_MONOTONE = {spec for spec in SPECS if spec.startswith(("random", "inverse"))}
# Depends on the order of the sources: random numbers belong to positions, not to names.
RANDOM = {spec for spec in SPECS if spec.startswith("random")}

scores = st.lists(st.one_of(st.floats(-1, 1), st.just(float("nan"))), min_size=2, max_size=12)


def weigh(spec: str, values: Sequence[float], zero_means_none: bool = True) -> Array:
    method = specs.resolve("weighting", spec)
    names = [f"s{i}" for i in range(len(values))]
    result: Array = method.function(np.array(values), names, zero_means_none, **method.params)
    return result


def test_every_weighting_of_the_table_is_tested() -> None:
    assert set(registry.WEIGHTINGS) == {specs.resolve("weighting", s).name for s in SPECS} | NOT_FROM_SCORES


@pytest.mark.parametrize("spec", SPECS)
@settings(deadline=None, max_examples=40)
@given(values=scores)
def test_weights_sum_to_one_and_undefined_weigh_nothing(spec: str, values: list[float]) -> None:
    assume(np.isfinite(values).sum() >= 2)
    before = np.array(values)
    weights = weigh(spec, values)
    assert weights.shape == (len(values),)
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    assert (weights[np.isnan(values)] == 0).all()
    np.testing.assert_array_equal(before, values)


@pytest.mark.parametrize("zero_means_none", [False, True])
@pytest.mark.parametrize("spec", [s for s in SPECS if s not in NOT_MONOTONE])
@settings(deadline=None, max_examples=40)
@given(values=st.lists(st.floats(-100, 100), min_size=2, max_size=12))
def test_better_sources_never_weigh_less(spec: str, zero_means_none: bool, values: list[float]) -> None:
    weights = weigh(spec, values, zero_means_none)
    assert (np.diff(weights[np.argsort(-np.array(values), kind="stable")]) <= 1e-15).all()
    assert weights[np.argmax(values)] == weights.max()


@pytest.mark.parametrize("spec", [s for s in SPECS if s not in RANDOM])
@settings(deadline=None, max_examples=40)
@given(values=st.lists(st.floats(-1, 1), min_size=2, max_size=8, unique=True), draw=st.randoms())
def test_weights_do_not_depend_on_the_order_of_sources(spec: str, values: list[float], draw: Any) -> None:
    assume(len({max(value, 0.0) for value in values}) == len(values))  # equal scores are taken by position
    order = list(range(len(values)))
    draw.shuffle(order)
    np.testing.assert_allclose(weigh(spec, [values[i] for i in order]), weigh(spec, values)[order], atol=1e-12)


@pytest.mark.parametrize("spec", [s for s in SPECS if "k=" not in s])
@pytest.mark.parametrize("value", [0.3, 0.0, -0.2])
def test_a_single_source_takes_all_the_weight(spec: str, value: float) -> None:
    np.testing.assert_array_equal(weigh(spec, [value]), [1])
    np.testing.assert_array_equal(weigh(spec, [np.nan, value]), [0, 1])


@pytest.mark.parametrize("spec", [*SPECS])
def test_missing_and_infinite_scores_are_errors(spec: str) -> None:
    with pytest.raises(ContractError, match="no source has a score"):
        weigh(spec, [np.nan, np.nan])
    with pytest.raises(ContractError, match="s1 is inf"):
        weigh(spec, [0.1, np.inf])


EQUALS = [s for s in SPECS if s not in RANDOM and "k=2" not in s and "k=3" not in s]


@pytest.mark.parametrize("spec", EQUALS)
@pytest.mark.parametrize("value", [0.3, 0.0, -0.2])
def test_equal_scores_weigh_equally(spec: str, value: float) -> None:
    np.testing.assert_allclose(weigh(spec, [value] * 4), 0.25)


def test_power_is_its_formula() -> None:
    np.testing.assert_allclose(weigh("p=2", [0.1, 0.3, 0.2, 0.5]), np.array([0, 0.25, 0.0625, 1]) / 1.3125)
    np.testing.assert_allclose(weigh("p=1", [-2.0, -1.0, -1.5], False), np.array([0, 1, 0.5]) / 1.5)


def test_negative_scores_are_clipped_if_zero_means_none() -> None:
    np.testing.assert_allclose(weigh("p=1", [-0.5, 0.0, 0.5], True), [0, 0, 1])
    np.testing.assert_allclose(weigh("p=1", [-0.5, 0.0, 0.5], False), [0, 1 / 3, 2 / 3])
    np.testing.assert_allclose(weigh("p=1", [-0.5, -0.1], True), [0.5, 0.5])


def test_power_zero_weighs_all_sources_equally() -> None:
    np.testing.assert_array_equal(weigh("p=0", [0.1, 0.3, np.nan]), [0.5, 0.5, 0])
    np.testing.assert_array_equal(weigh("equal", [0.1, 0.3, np.nan]), [0.5, 0.5, 0])


def test_infinite_power_is_the_first_best_source() -> None:
    for spec in ("p=inf", "nearest", "p=1e9", "power:p=Infinity"):
        np.testing.assert_array_equal(weigh(spec, [0.1, 0.3, 0.2]), [0, 1, 0])
    np.testing.assert_array_equal(weigh("nearest", [0.1, 0.3, 0.3]), [0, 1, 0])
    np.testing.assert_array_equal(weigh("nearest", [-100, 99.99999999999999, 100]), [0, 0, 1])
    np.testing.assert_array_equal(weigh("nearest", [-0.1, -0.3, np.nan]), [0.5, 0.5, 0])


def test_extreme_powers_still_sum_to_one() -> None:
    for p in ("p=700", "p=1e300", "p=1e-300"):
        assert weigh(p, [0.1, 0.100001, 0.3, 0.29]).sum() == pytest.approx(1)


@pytest.mark.parametrize("spec", ["p=-1", "topk:p=-0.5", "inverse:p=-2", "topk:k=0", "softmax:T=0", "softmax:T=-1"])
def test_parameter_out_of_range_is_a_usage_error(spec: str) -> None:
    with pytest.raises(UsageError, match=spec.rpartition(":")[2]):
        weigh(spec, [0.1, 0.2])


def test_softmax_is_of_the_raw_scores() -> None:
    expected = np.exp([-10.0, 20, 30]) / np.exp([-10.0, 20, 30]).sum()
    np.testing.assert_allclose(weigh("softmax:T=0.01", [-0.1, 0.2, 0.3]), expected)
    np.testing.assert_allclose(weigh("softmax:T=1e-300", [-0.1, 0.2, 0.3]), [0, 0, 1])
    np.testing.assert_allclose(weigh("softmax:T=inf", [-0.1, 0.2, 0.3]), [1 / 3] * 3)
    with pytest.raises(UsageError, match="softmax needs T"):
        weigh("softmax", [0.1, 0.2])


def test_topk_is_power_cut_to_the_best_and_renormalised() -> None:
    values = [0.1, 0.5, 0.3, 0.4]
    whole = weigh("p=2", values)
    np.testing.assert_allclose(weigh("topk:k=2,p=2", values), whole * [0, 1, 0, 1] / (whole[1] + whole[3]))
    np.testing.assert_allclose(weigh("topk:k=4,p=2", values), whole)
    np.testing.assert_allclose(weigh("topk:k=1", values), weigh("nearest", values))
    np.testing.assert_allclose(weigh("topk:k=2", [0.2, 0.2, 0.2, 0.1]), [0.5, 0.5, 0, 0])
    np.testing.assert_allclose(weigh("topk:k=3,p=0", [0.2, np.nan, 0.2]), [0.5, 0, 0.5])


def test_random_weights_are_uniform_and_follow_the_seed() -> None:
    samples = np.array([weigh(f"random:seed={seed}", [0.1, 0.2, 0.3]) for seed in range(2000)])
    np.testing.assert_allclose(samples.mean(axis=0), 1 / 3, atol=0.02)
    # The first weight of three is beta(1, 2) distributed: its standard deviation is sqrt(1/18).
    np.testing.assert_allclose(samples.std(axis=0), np.sqrt(1 / 18), atol=0.02)
    np.testing.assert_array_equal(weigh("random:seed=3", [0.1, 0.2]), weigh("random:seed=3", [0.9, 0.0]))


def test_random_weights_of_k_sources() -> None:
    for seed in range(20):
        weights = weigh(f"random:seed={seed},k=2", [0.1, np.nan, 0.3, 0.4, 0.5])
        assert (weights > 0).sum() == 2
        assert weights[1] == 0
    with pytest.raises(UsageError, match="k=3"):
        weigh("random:k=3", [0.1, np.nan, 0.3])
    with pytest.raises(UsageError, match="seed=-1"):
        weigh("random:seed=-1", [0.1, 0.3])


def test_the_inverse_weighs_the_worst_source_most() -> None:
    np.testing.assert_allclose(weigh("inverse", [0.1, 0.2, -0.5]), np.array([2, 1, 2]) / 5)
    np.testing.assert_allclose(weigh("inverse:p=2", [0.1, 0.2]), [0.8, 0.2])
    np.testing.assert_allclose(weigh("inverse:form=complement", [0.1, 0.3, 0.2]), np.array([2, 0, 1]) / 3)
    np.testing.assert_allclose(weigh("inverse:form=complement", [-3.0, -1.0, -2.0], False), np.array([2, 0, 1]) / 3)
    with pytest.raises(UsageError, match="complement"):
        weigh("inverse", [-3.0, -1.0], False)


def test_reciprocals_of_28_scores_are_nearly_equal() -> None:
    values = np.linspace(0.15, 0.30, 28).tolist()
    assert effective_number(weigh("inverse", values)) == pytest.approx(27.4, abs=0.1)
    assert effective_number(weigh("inverse:form=complement", values)) < 23
