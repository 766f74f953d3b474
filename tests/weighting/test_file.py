"""Weights from a file: what is accepted, and the errors."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo_cli import specs
from zoo_cli.errors import ContractError

NAMES = ("a", "b", "c")


def weigh(sources: Any, names: tuple[str, ...] = NAMES) -> list[float]:
    method = specs.resolve("weighting", "file:somewhere/weights.json")
    assert method.params == {"path": "somewhere/weights.json"}
    weights = method.function(np.full(len(names), np.nan), names, True, weights={"sources": sources, "metric": "parc"})
    result: list[float] = weights.tolist()
    return result


def rows(**weights: Any) -> list[dict[str, Any]]:
    return [{"source": name, "weight": weight, "score": None} for name, weight in weights.items()]


def test_weights_are_taken_by_name_and_renormalised() -> None:
    assert weigh(rows(c=1, a=3.0, b=0)) == [0.75, 0, 0.25]
    assert weigh(rows(a=1e308, b=1e308, c=1e308)) == pytest.approx([1 / 3] * 3)
    assert weigh(rows(a=5e-324, b=0, c=0)) == [1, 0, 0]


@pytest.mark.parametrize("weight", [-0.1, float("nan"), float("inf"), -float("inf"), 10**400, "0.5", True, None, [1]])
def test_invalid_weight_is_an_error_with_its_source(weight: Any) -> None:
    with pytest.raises(ContractError, match='the weight of source "b" is'):
        weigh(rows(a=1, b=weight, c=1))


def test_unknown_missing_and_repeated_sources_are_named() -> None:
    with pytest.raises(ContractError, match='source "d" that is not used here; sources: a, b, c'):
        weigh(rows(a=1, b=1, c=1, d=0))
    with pytest.raises(ContractError, match='no weight for source "b"'):
        weigh(rows(a=1, c=1))
    with pytest.raises(ContractError, match='source "a" twice'):
        weigh([*rows(a=1, b=1, c=1), *rows(a=1)])


def test_weights_that_are_all_zero_are_an_error() -> None:
    with pytest.raises(ContractError, match="all weights in the weights file are 0"):
        weigh(rows(a=0, b=0.0, c=-0.0))


@pytest.mark.parametrize(
    "sources", [None, {}, "a", [1], [{"source": "a"}], [{"weight": 1}], [{"source": 3, "weight": 1}]]
)
def test_wrong_structure_is_an_error_with_the_right_one(sources: Any) -> None:
    with pytest.raises(ContractError, match=r'expected \{"sources"'):
        weigh(sources)


@pytest.mark.parametrize("content", [[], None, "text", 3, {"weights": []}])
def test_a_file_without_sources_is_an_error(content: Any) -> None:
    method = specs.resolve("weighting", "file:w.json")
    with pytest.raises(ContractError, match="wrong structure"):
        method.function(np.zeros(3), NAMES, True, weights=content)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(
    st.lists(st.fixed_dictionaries({"source": st.sampled_from(NAMES) | json_values, "weight": json_values}), max_size=4)
)
def test_any_file_gives_weights_or_a_contract_error(sources: list[dict[str, Any]]) -> None:
    try:
        weights = weigh(sources)
    except ContractError:
        return
    assert sum(weights) == pytest.approx(1)
