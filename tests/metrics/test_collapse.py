"""Collapsed outputs: the same answer, or the same features, for every image."""

import numpy as np
import pytest

from zoo_cli.metrics.collapse import Block, OutputSummary, summarise_outputs

RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.standard_normal((60, 5)).astype(np.float32)


def summarise(features: np.ndarray | None, probs: np.ndarray | None, size: int = 60) -> OutputSummary:
    def blocks() -> list[Block]:
        return [
            (None if features is None else features[i : i + size], None if probs is None else probs[i : i + size])
            for i in range(0, 60, size)
        ]

    return summarise_outputs(blocks)


def answers(spread: float, classes: int = 4) -> np.ndarray:
    """Probabilities (60, classes) whose largest deviation from the mean has this mean."""
    signs = np.where(np.arange(60) % 2, 1.0, -1.0)
    probs = np.full((60, classes), 1 / classes)
    probs[:, 0] += spread * signs
    probs[:, 1] -= spread * signs
    return probs


def test_answers_are_counted_never_judged() -> None:
    probs = np.eye(10)[np.arange(60) % 3]
    assert summarise(FEATURES, probs) == OutputSummary(60, 3, collapsed=False)


@pytest.mark.parametrize(("spread", "collapsed"), [(0.0, True), (0.0099, True), (0.0101, False), (0.2, False)])
def test_the_threshold_is_a_mean_deviation_of_a_hundredth(spread: float, collapsed: bool) -> None:
    assert summarise(FEATURES, answers(spread)).collapsed is collapsed
    assert summarise(None, answers(spread)).collapsed is collapsed


def test_blocks_change_nothing() -> None:
    probs = RANDOM.dirichlet(np.ones(7), 60)
    assert summarise(FEATURES, probs, 7) == summarise(FEATURES, probs) == OutputSummary(60, 7, collapsed=False)
    # Each block alone is constant, all together are not.
    assert not summarise(np.repeat(FEATURES[:6], 10, axis=0), None, 10).collapsed


@pytest.mark.parametrize("value", [0.0, 3.25, -1e4])
def test_constant_features_are_collapsed(value: float) -> None:
    constant = np.full((60, 5), value, np.float32)
    assert summarise(constant, None).collapsed
    assert summarise(constant, np.eye(3)[np.arange(60) % 3]).collapsed
    constant *= 1 + 1e-7 * RANDOM.standard_normal((60, 5)).astype(np.float32)
    assert summarise(constant, None).collapsed
    constant[7, 2] += 1
    assert not summarise(constant, None).collapsed


def test_one_softmax_class_says_nothing_and_a_sigmoid_does() -> None:
    assert summarise(FEATURES, np.ones((60, 1))) == OutputSummary(60, 1, collapsed=False)
    assert not summarise(FEATURES, RANDOM.uniform(size=(60, 1))).collapsed
    assert summarise(FEATURES, np.full((60, 1), 0.3)).collapsed


def test_too_few_images_cannot_tell() -> None:
    assert summarise_outputs(list) == OutputSummary(0, None, collapsed=False)
    assert summarise_outputs(lambda: [(FEATURES[:1], None)]) == OutputSummary(1, None, collapsed=False)
