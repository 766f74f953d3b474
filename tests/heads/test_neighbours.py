"""The graph: exact neighbours by blocks, principal components of wide features, spreading by conjugate gradients."""

import multiprocessing
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from zoo_cli import specs
from zoo_cli.heads import neighbours, principal_components, spread
from zoo_cli.heads.fitting import fit_heads, pool_heads
from zoo_cli.heads.neighbours import kernel_graph, nearest, neighbour_graph, unit_rows
from zoo_cli.heads.principal_components import pool_kernel, pool_rows
from zoo_cli.heads.spreading import inverse_diagonal, normalise_graph, solve_spreading
from zoo_cli.heads.standardise import Features
from zoo_cli.heads.target_labels import TargetLabels

from .simulated import classes_of, embedding, label, pool

Array = NDArray[Any]


@pytest.mark.parametrize("k", [1, 7, 299, 1000])
def test_neighbours_by_blocks_are_exact(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", 37)
    monkeypatch.setattr(neighbours, "TILE", 41)
    rows = unit_rows(np.random.default_rng(0).normal(size=(300, 9)))
    places, products = nearest(rows, rows, k, skip=np.arange(300))
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -np.inf)
    order = np.argsort(-cosines, axis=1)[:, : min(k, 299)]
    np.testing.assert_array_equal(places, order)
    np.testing.assert_allclose(products, np.take_along_axis(cosines, order, axis=1), atol=1e-12)


def test_equal_rows_are_neighbours_and_zero_rows_are_alone() -> None:
    rows = np.ones((12, 3))
    rows[9:] = 0
    graph, subset = neighbour_graph(rows, 4, labelled=np.array([0]))
    assert not subset
    assert graph.diagonal().max() == 0
    np.testing.assert_allclose(graph.data, 1)
    assert graph[9:].nnz == 0
    assert (abs(graph - graph.T)).nnz == 0
    assert neighbour_graph(rows[:1], 4, labelled=np.array([0]))[0].nnz == 0


def test_a_subset_holds_the_labelled_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "LIMIT", 50)
    monkeypatch.setattr(spread, "FEW", 50)
    rows = np.random.default_rng(1).normal(size=(300, 5))
    labelled = np.array([3, 40, 299])
    graph, subset = neighbour_graph(rows, 6, labelled=labelled, seed=2)
    assert subset
    reached = np.flatnonzero(np.diff(graph.indptr) > 6)
    assert len(reached) <= 50
    again, _ = neighbour_graph(rows, 6, labelled=labelled, seed=2)
    assert (abs(graph - again)).nnz == 0
    truth = classes_of(300, 3)
    result = pool("product", [embedding(truth, 8, signal=2.0)], label(truth, (5, 5, 5)), 3)
    assert result.notes == ("graph_of_a_subset",)
    assert (result.probabilities.argmax(axis=1) == truth).mean() > 0.9


def test_the_graph_of_a_kernel_is_that_of_its_rows() -> None:
    rows = np.random.default_rng(4).normal(size=(120, 7))
    rows[50] = 0
    for k in (1, 6, 500):
        graph = kernel_graph(rows @ rows.T, k)
        expected, _ = neighbour_graph(rows, k, labelled=np.array([0]))
        np.testing.assert_allclose(graph.toarray(), expected.toarray(), atol=1e-12)


def test_few_and_many_images_have_the_same_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = classes_of(300, 4)
    labels = label(truth, (5, 5, 5, 5))
    for widths in ((20, 9), (400, 300)):
        arrays = [embedding(truth, width, signal=0.5) for width in widths]
        few = pool("spread", arrays, labels, 4)
        with monkeypatch.context() as patch:
            patch.setattr(spread, "FEW", 100)
            many = pool("spread", arrays, labels, 4)
        np.testing.assert_allclose(many.probabilities, few.probabilities, atol=1e-4)
        np.testing.assert_allclose(many.leave_one_out, few.leave_one_out, atol=1e-4)


def test_principal_components_keep_the_kernel() -> None:
    truth = classes_of(600, 5)
    draw = np.random.default_rng(0)
    arrays = [embedding(truth, 30) @ draw.normal(size=(30, width)) for width in (400, 500)]
    sources, weights = [Features.of(x) for x in arrays], np.array([0.3, 0.7])
    kernel = sum(w * f.take(slice(None)) @ f.take(slice(None)).T for f, w in zip(sources, weights, strict=True))
    np.testing.assert_allclose(pool_kernel(sources, weights), kernel, atol=1e-12)
    rows = pool_rows(sources, weights)
    assert rows.shape[1] < 200
    np.testing.assert_allclose(rows @ rows.T, kernel, atol=2e-4)
    order = np.random.default_rng(3).permutation(600)
    moved = pool_rows([Features.of(x[order]) for x in arrays], weights)
    np.testing.assert_allclose(moved @ moved.T, kernel[np.ix_(order, order)], atol=2e-4)


def test_components_of_full_rank_keep_most_neighbours() -> None:
    truth = classes_of(1500, 10)
    source = Features.of(embedding(truth, 1200, signal=0.5))
    exact = unit_rows(source.take(slice(None)))
    rows = unit_rows(pool_rows([source], np.ones(1)))
    assert rows.shape == (1500, principal_components.COMPONENTS)
    assert rows.dtype == np.float32
    own = np.arange(1500)
    near = [truth[nearest(x, x, 10, skip=own)[0]] == truth[:, None] for x in (exact, rows)]
    assert near[1].mean() > near[0].mean() - 0.02


def test_conjugate_gradients_solve_the_equations() -> None:
    rows = np.random.default_rng(0).normal(size=(200, 4))
    normal = normalise_graph(neighbour_graph(rows, 5, labelled=np.arange(2))[0])
    system = np.eye(200) - 0.97 * normal.toarray()
    columns = np.random.default_rng(1).normal(size=(200, 7))
    columns[:, 3] = 0
    solution = solve_spreading(normal, columns, 0.97, 1e-12)
    np.testing.assert_allclose(solution, np.linalg.solve(system, columns), atol=1e-10)
    inverse = np.linalg.inv(system).diagonal()
    np.testing.assert_allclose(inverse_diagonal(normal, np.arange(0, 200, 2), 0.97), inverse[::2], atol=1e-12)


@pytest.mark.slow
def test_two_hundred_thousand_images_need_little_memory() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as process:
        growth, accuracy = process.apply(answer_many, (200_000,))
    # 843 MB; one matrix of N x N in float32 would take 160 GB.
    assert growth < 8 * 200_000 * (10 + 512 + 5)
    assert accuracy > 0.9


def answer_many(count: int) -> tuple[int, float]:
    """Bytes by which a fresh process grows that answers for `count` images, and the share of right answers."""
    truth = classes_of(count, 5)
    source = Features.of(embedding(truth, 32, signal=1.5, kind=np.float32))
    targets = TargetLabels.of(label(truth, (10,) * 5), 5)
    before = read_status("VmHWM")
    heads = fit_heads(specs.resolve("head", "ridge"), [source], targets)
    result = pool_heads(specs.resolve("pool", "product"), [source], heads, targets)
    growth = read_status("VmHWM") - before
    return growth, float((result.probabilities.argmax(axis=1) == truth).mean())


def read_status(field: str) -> int:
    """Bytes of this process, from the kernel's table."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))
