"""Answers for new images: the formulas where there are any, else the nearest train images."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from zoo_cli import specs
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.heads import new_images
from zoo_cli.heads.fitting import fit_heads
from zoo_cli.heads.new_images import answer_heads, answer_joint, answer_neighbours
from zoo_cli.heads.standardise import Features
from zoo_cli.heads.target_labels import TargetLabels

from . import references as slow
from .simulated import classes_of, embedding, label, pool

Array = NDArray[Any]

WIDTHS = (20, 6)
TRUTH = classes_of(160, 3)
ARRAYS = [embedding(TRUTH, width, signal=0.8) for width in WIDTHS]
TRAIN, NEW = [x[:100] for x in ARRAYS], [x[100:] for x in ARRAYS]
LABELS = label(TRUTH[:100], (5, 4, 3))
WEIGHTS = np.array([0.25, 0.75])


def test_kernel_answers_its_train_images_alike() -> None:
    result = pool("kernel", TRAIN, LABELS, 5, weights=WEIGHTS)
    assert result.joint is not None
    present = np.arange(3)
    np.testing.assert_allclose(answer_joint(result.joint, TRAIN, present, 5), result.probabilities, atol=1e-12)
    answers = answer_joint(result.joint, NEW, present, 5)
    assert (answers.argmax(axis=1) == TRUTH[100:]).mean() > 0.8
    one = answer_joint(result.joint, [x[7:8] for x in NEW], present, 5)
    np.testing.assert_allclose(one, answers[7:8], atol=1e-12)


def test_logmean_answers_its_train_images_alike() -> None:
    targets = TargetLabels.of(LABELS, 5)
    heads = fit_heads(specs.resolve("head", "ridge"), [Features.of(x) for x in TRAIN], targets)
    result = pool("logmean", TRAIN, LABELS, 5)
    np.testing.assert_allclose(answer_heads(heads, TRAIN), result.probabilities, atol=1e-12)


@pytest.mark.parametrize("k", [1, 4, 500])
def test_neighbours_answer_by_their_weighted_mean(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_images, "BLOCK", 1700)
    sources = [Features.of(x) for x in TRAIN]
    probabilities = pool("product", TRAIN, LABELS, 5, weights=WEIGHTS).probabilities
    answers = answer_neighbours(sources, WEIGHTS, NEW, probabilities, np.arange(3), k=k)
    wide = [
        np.hstack([np.sqrt(w) * f.standardise(x) for f, x, w in zip(sources, values, WEIGHTS, strict=True)])
        for values in (TRAIN, NEW)
    ]
    for i, row in enumerate(wide[1]):
        cosines = [float(row @ other / np.linalg.norm(row) / np.linalg.norm(other)) for other in wide[0]]
        near = sorted(range(100), key=lambda j: -cosines[j])[:k]
        mass = sum(max(cosines[j], 0) ** 3 * probabilities[j] for j in near)
        np.testing.assert_allclose(answers[i], slow.share(mass[None, :])[0], atol=1e-10)
    assert (answers.argmax(axis=1) == TRUTH[100:]).mean() > 0.7


def test_an_image_without_a_neighbour_is_uniform() -> None:
    sources = [Features.of(x) for x in TRAIN]
    centre = [source.mean[None, :] for source in sources]
    answers = answer_neighbours(sources, WEIGHTS, centre, np.eye(5)[np.zeros(100, int)], np.array([0, 1, 4]))
    np.testing.assert_allclose(answers, [[1 / 3, 1 / 3, 0, 0, 1 / 3]])


def test_wrong_new_features_are_an_error() -> None:
    result = pool("kernel", TRAIN, LABELS, 3, weights=WEIGHTS)
    assert result.joint is not None
    broken = NEW[0].copy()
    broken[2, 1] = np.nan
    for values in (NEW[:1], [NEW[0], NEW[1][:-1]], NEW[::-1], [broken, NEW[1]]):
        with pytest.raises(ContractError):
            answer_joint(result.joint, values, np.arange(3), 3)
    with pytest.raises(UsageError, match="k=0 is below 1"):
        answer_neighbours([Features.of(x) for x in TRAIN], WEIGHTS, NEW, result.probabilities, np.arange(3), k=0)
