"""The formula of a pool: it answers for new images as the pool does, also after its arrays were stored."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from zoo_cli import registry, specs
from zoo_cli.errors import ContractError
from zoo_cli.heads.fitting import fit_heads, pool_heads
from zoo_cli.heads.linear_head import Head
from zoo_cli.heads.pool_formula import PoolFormula
from zoo_cli.heads.pooled import Pool
from zoo_cli.heads.standardise import Features
from zoo_cli.heads.target_labels import TargetLabels

from .simulated import classes_of, embedding, label

Array = NDArray[Any]

TRUTH = classes_of(150, 3)
ARRAYS = [embedding(TRUTH, width, signal=0.8, kind=np.float32) for width in (20, 6, 9)]
TRAIN, NEW = [x[:100] for x in ARRAYS], [x[100:] for x in ARRAYS]
LABELS = label(TRUTH[:100], (5, 4, 3))
WEIGHTS = np.array([0.25, 0.0, 0.75])
BY_NEIGHBOURS = ("spread", "product")


def build(name: str) -> tuple[Pool, list[Head], PoolFormula, list[int]]:
    """A pool in which one source of three has no weight, its heads, its formula and the sources that it needs."""
    sources, targets = [Features.of(x) for x in TRAIN], TargetLabels.of(LABELS, 4)
    heads = fit_heads(specs.resolve("head", "ridge"), sources, targets)
    pool = pool_heads(specs.resolve("pool", name), sources, heads, targets, weights=WEIGHTS)
    return pool, heads, *PoolFormula.of(pool, heads)


def ask(formula: PoolFormula, used: list[int], values: list[Array], train_answers: Array) -> Array:
    train = [formula.train_features(s, TRAIN[position]) for s, position in enumerate(used)]
    return formula.answer([values[position] for position in used], train, train_answers)


@pytest.mark.parametrize("name", registry.POOLS)
def test_sources_without_weight_are_not_needed(name: str) -> None:
    assert build(name)[3] == ([2] if name == "best" else [0, 2])


@pytest.mark.parametrize("name", [name for name in registry.POOLS if name not in BY_NEIGHBOURS])
def test_formula_answers_the_train_images_as_the_pool(name: str) -> None:
    pool, _, formula, used = build(name)
    np.testing.assert_allclose(ask(formula, used, TRAIN, pool.probabilities), pool.probabilities, atol=1e-6)


@pytest.mark.parametrize("name", BY_NEIGHBOURS)
def test_neighbours_average_the_answers_of_the_pool(name: str) -> None:
    pool, _, formula, used = build(name)
    answers = ask(formula, used, NEW, pool.probabilities)
    scaled = [[], []]  # type: list[list[Array]]
    for position in used:
        x = TRAIN[position].astype(np.float64)
        for part, values in zip(scaled, (TRAIN, NEW), strict=True):
            columns = (values[position] - x.mean(0)) / x.std(0) / np.sqrt(x.shape[1])
            part.append(np.sqrt(pool.weights[position]) * columns)
    train, new = (np.hstack(part) for part in scaled)
    for row, features in enumerate(new):
        cosines = train @ features / np.linalg.norm(train, axis=1) / np.linalg.norm(features)
        near = np.argsort(-cosines)[:10]
        expected = np.maximum(cosines[near], 0) ** 3 @ pool.probabilities[near]
        np.testing.assert_allclose(answers[row], expected / expected.sum(), atol=1e-6)
    assert (answers.argmax(axis=1) == TRUTH[100:]).mean() > 0.7


@pytest.mark.parametrize("name", registry.POOLS)
def test_answers_do_not_depend_on_order_or_company(name: str) -> None:
    pool, _, formula, used = build(name)
    answers = ask(formula, used, NEW, pool.probabilities)
    order = np.random.default_rng(0).permutation(len(answers))
    shuffled = ask(formula, used, [x[order] for x in NEW], pool.probabilities)
    np.testing.assert_allclose(shuffled, answers[order], atol=1e-12)
    alone = ask(formula, used, [x[7:8] for x in NEW], pool.probabilities)
    np.testing.assert_allclose(alone, answers[7:8], atol=1e-12)
    assert not answers[:, 3].any()
    np.testing.assert_allclose(answers.sum(axis=1), 1)


@pytest.mark.parametrize("name", registry.POOLS)
def test_formula_survives_its_arrays(name: str) -> None:
    pool, _, formula, used = build(name)
    again = PoolFormula.from_arrays(formula.to_arrays())
    assert np.array_equal(ask(again, used, NEW, pool.probabilities), ask(formula, used, NEW, pool.probabilities))


@pytest.mark.parametrize("name", registry.POOLS)
def test_missing_array_is_named(name: str) -> None:
    arrays = build(name)[2].to_arrays()
    for key in set(arrays) - {"intercept", "neighbours"}:
        with pytest.raises(ContractError, match=f"no array '{key}'"):
            PoolFormula.from_arrays({other: value for other, value in arrays.items() if other != key})
