"""Heads and pools on several views of each image; leave-one-out against really leaving out all views of one."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.marks import slow_unless
from zoo_cli import registry, specs
from zoo_cli.errors import UsageError
from zoo_cli.heads.fitting import fit_heads, pool_heads
from zoo_cli.heads.linear_head import Head
from zoo_cli.heads.pooled import Pool
from zoo_cli.heads.standardise import Features
from zoo_cli.heads.target_labels import TargetLabels
from zoo_cli.heads.view_pools import VIEW_POOLS, ViewFeatures, pool_views
from zoo_cli.specs import Method

from . import references as slow
from .simulated import classes_of, embedding, label

Array = NDArray[Any]

CLASSES = 4
COUNTS = (5, 3, 6, 1)
VIEWS = 3


def task(widths: tuple[int, ...], *, noise: float = 0.4) -> tuple[list[Array], list[Array], TargetLabels]:
    """Plain arrays (N, D) of each source, its views (V, N, D), and the labels. Without noise all views are equal."""
    truth = classes_of(80, CLASSES)
    plain = [embedding(truth, width, signal=0.6) for width in widths]
    draw = np.random.default_rng(3)
    views = [array + noise * array.std() * draw.normal(size=(VIEWS, *array.shape)) for array in plain]
    return plain, views, TargetLabels.of(label(truth, COUNTS), CLASSES)


def make_features(plain: list[Array], views: list[Array], targets: TargetLabels) -> ViewFeatures:
    sources = [Features.of(array) for array in plain]

    def like(source: Features, values: Array) -> Features:
        return Features(values, source.mean, source.scale)

    pairs = list(zip(sources, views, strict=True))
    return ViewFeatures(
        sources,
        [like(s, np.concatenate(list(array[:, targets.rows].transpose(1, 0, 2)))) for s, array in pairs],
        [[like(source, array[view]) for source, array in pairs] for view in range(VIEWS)],
    )


def fit(spec: str, features: ViewFeatures, targets: TargetLabels) -> list[Head]:
    return fit_heads(specs.resolve("head", spec), features.labelled, targets.repeat(VIEWS))


def left_out_rows(targets: TargetLabels, image: int) -> Array:
    """The labelled rows (of L V) without those of one image."""
    return np.flatnonzero(np.arange(len(targets) * VIEWS) // VIEWS != image)


@pytest.mark.parametrize("width", [6, 20, 90])
@pytest.mark.parametrize("lam", [1e-2, 1.0])
def test_ridge_is_exact_with_all_views_of_an_image_left_out(width: int, lam: float) -> None:
    plain, views, targets = task((width,))
    features = make_features(plain, views, targets)
    (head,) = fit(f"ridge:lam={lam},T=0.5", features, targets)
    phi = features.labelled[0].take(slice(None))
    gram, labels = phi @ phi.T, np.repeat(targets.labels, VIEWS)

    def values(rows: Array) -> Array:
        """The values of all L V rows after a fit on some, each with the weight 1 / V."""
        system = np.ones((len(rows) + 1, len(rows) + 1))
        system[:-1, :-1] = gram[np.ix_(rows, rows)] + lam * VIEWS * np.eye(len(rows))
        system[-1, -1] = 0
        right = np.vstack([slow.one_hot(labels[rows], CLASSES), np.zeros(CLASSES)])
        solution = np.linalg.solve(system, right)
        return gram[:, rows] @ solution[:-1] + solution[-1]

    expected = np.zeros((len(labels), CLASSES))
    for image in range(len(targets)):
        own = slice(image * VIEWS, (image + 1) * VIEWS)
        expected[own] = values(left_out_rows(targets, image))[own]
    np.testing.assert_allclose(head.leave_one_out, slow.softmax(expected, 0.5), atol=1e-10)
    everything = values(np.arange(len(labels)))
    np.testing.assert_allclose(head.answer(features.labelled[0].values), slow.softmax(everything, 0.5), atol=1e-10)


@pytest.mark.parametrize("width", [3, 40])
def test_ncm_is_exact_with_all_views_of_an_image_left_out(width: int) -> None:
    plain, views, targets = task((width,))
    features = make_features(plain, views, targets)
    (head,) = fit("ncm:T=0.5", features, targets)
    phi, labels = features.labelled[0].take(slice(None)), np.repeat(targets.labels, VIEWS)
    for image in range(len(targets)):
        rows = left_out_rows(targets, image)
        for row in range(image * VIEWS, (image + 1) * VIEWS):
            logits = [-np.inf] * CLASSES
            for number in range(CLASSES):
                members = rows[labels[rows] == number]
                if len(members):
                    logits[number] = -float(((phi[row] - phi[members].mean(axis=0)) ** 2).sum())
            np.testing.assert_allclose(head.leave_one_out[row], slow.softmax(np.array([logits]), 0.5)[0], atol=1e-10)


def test_logistic_keeps_the_views_of_an_image_in_one_fold() -> None:
    """Views that hold nothing but the image's number: who has seen one of them knows the class of the others."""
    pytest.importorskip("sklearn")
    truth = np.repeat(np.arange(2), 10)
    targets = TargetLabels.of(truth, 2)
    identity = np.eye(20)
    features = make_features([identity], [np.stack([identity] * VIEWS)], targets)
    (head,) = fit("logistic:lam=0.001", features, targets)
    assert head.accuracy is not None
    assert head.accuracy < 0.7


@pytest.mark.parametrize("head", slow_unless(["ridge", "ncm", "logistic"], ("ridge", "ncm")))
@pytest.mark.parametrize("pool", registry.POOLS)
def test_equal_views_are_as_one(head: str, pool: str) -> None:
    plain, views, targets = task((6, 30), noise=0.0)
    features = make_features(plain, views, targets)
    head_method, pool_method = specs.resolve("head", head), specs.resolve("pool", pool)
    heads = fit_heads(head_method, features.plain, targets)
    expected = pool_heads(pool_method, features.plain, heads, targets)
    for heads_of_views in zip(fit(head, features, targets), heads, strict=True):
        assert heads_of_views[0].nll == pytest.approx(heads_of_views[1].nll, abs=1e-5)
        assert heads_of_views[0].lam == heads_of_views[1].lam
    result = pool_views(pool_method, features, fit(head, features, targets), targets)
    assert len(result) == VIEWS
    for each in result:
        same_pool(each, expected)


def same_pool(result: Pool, expected: Pool) -> None:
    np.testing.assert_allclose(result.probabilities, expected.probabilities, atol=2e-5)
    np.testing.assert_allclose(result.leave_one_out, expected.leave_one_out, atol=2e-5)
    np.testing.assert_allclose(result.weights, expected.weights, atol=2e-5)
    assert result.accuracy == expected.accuracy
    assert (result.head, result.neighbours) == (expected.head, expected.neighbours)


def test_kernel_answers_each_view_by_one_joint_head() -> None:
    """The pool of two sources is ridge on their scaled features side by side, and answers as that head does."""
    plain, views, targets = task((6, 30))
    features = make_features(plain, views, targets)
    heads = fit("ridge", features, targets)
    result = pool_views(specs.resolve("pool", "kernel:lam=0.3,T=0.2"), features, heads, targets)
    roots = np.sqrt(result[0].weights)
    joined = [
        np.hstack([root * source.take(slice(None)) for root, source in zip(roots, sources, strict=True)])
        for sources in (features.labelled, *features.views)
    ]
    ones, zeros = np.ones(joined[0].shape[1]), np.zeros(joined[0].shape[1])
    (head,) = fit_heads(
        specs.resolve("head", "ridge:lam=0.3,T=0.2"), [Features(joined[0], zeros, ones)], targets.repeat(VIEWS)
    )
    for view, values in enumerate(joined[1:]):
        np.testing.assert_allclose(result[view].probabilities, head.answer(values), atol=1e-10)
        np.testing.assert_allclose(result[view].leave_one_out, head.leave_one_out[view::VIEWS], atol=1e-10)


def test_every_pool_answers_for_views() -> None:
    assert list(VIEW_POOLS) == list(registry.POOLS)


def test_pool_of_others_is_refused() -> None:
    plain, views, targets = task((6,))
    features = make_features(plain, views, targets)
    other = Method("theirs", {}, lambda: None)
    with pytest.raises(UsageError, match="the pool theirs does not answer for views"):
        pool_views(other, features, fit("ridge", features, targets), targets)


def test_one_label_per_class_in_several_views_is_one() -> None:
    targets = TargetLabels.of(np.array([0, 1, -1]), 2).repeat(VIEWS)
    assert targets.single
    assert not targets.judged.any()
