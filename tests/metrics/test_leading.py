"""A few of the eigenvectors of a matrix are those of its whole decomposition."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from zoo_cli.metrics import gbc
from zoo_cli.metrics.leading import find_leading
from zoo_cli.metrics.matrix import Matrix
from zoo_cli.metrics.probe import Probe
from zoo_cli.ranking.uncertainty import draw_replicates

from .probes import features

Array = NDArray[Any]


def _gram(rank: int, *, size: int = 48) -> Array:
    rows = np.random.default_rng(rank).standard_normal((rank, size)) * np.linspace(1, 3, size)
    return np.asarray(rows.T @ rows)


MATRICES = {
    "regular": _gram(90),
    "of low rank": _gram(7),
    "diagonal": np.diag(np.arange(48.0)),
    "in separate parts": np.kron(np.diag([1.0, 2.0, 2.0, 4.0]), _gram(20, size=12)),
    "tiny": 1e-200 * _gram(90),
}


@pytest.mark.parametrize("count", [1, 5, 12])
@pytest.mark.parametrize("kind", MATRICES)
def test_leading_eigenvectors_are_eigenvectors(kind: str, count: int) -> None:
    gram = MATRICES[kind]
    leading = find_leading(gram, count)
    assert leading is not None
    values, vectors = leading
    largest = values[0]
    np.testing.assert_allclose(values / largest, np.linalg.eigvalsh(gram)[::-1] / largest, atol=1e-13)
    np.testing.assert_allclose(gram / largest @ vectors, vectors * values[:count] / largest, atol=1e-12)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(count), atol=1e-12)


def test_the_lower_half_is_not_read() -> None:
    gram = _gram(90)
    half = np.triu(gram) + np.tril(np.full_like(gram, np.nan), -1)
    whole, upper = find_leading(gram, 5), find_leading(half, 5)
    assert whole is not None
    assert upper is not None
    np.testing.assert_array_equal(upper[1], whole[1])


@pytest.mark.parametrize("count", [0, 13, 48])
def test_many_or_no_eigenvectors_are_left_to_the_whole_decomposition(count: int) -> None:
    assert find_leading(_gram(90), count) is None


@pytest.mark.parametrize(("count", "width"), [(90, 48), (48, 90)])
def test_leading_scores_are_the_first_scores(count: int, width: int) -> None:
    rows = np.random.default_rng(0).standard_normal((count, width))
    few, whole = Matrix.of(rows).leading_scores(6), Matrix.of(rows).scores(6)
    np.testing.assert_allclose(few * np.sign((few * whole).sum(axis=0)), whole, atol=1e-10)


def test_a_known_spectrum_is_used() -> None:
    matrix = Matrix.of(np.random.default_rng(0).standard_normal((90, 48)))
    whole = matrix.scores(6)
    np.testing.assert_array_equal(matrix.leading_scores(6), whole)


def test_rows_of_low_rank_have_as_many_leading_scores() -> None:
    rows = np.random.default_rng(0).standard_normal((90, 3)) @ np.random.default_rng(1).standard_normal((3, 48))
    assert Matrix.of(rows).leading_scores(6).shape == (90, 3)


def test_subsamples_of_regular_features_share_the_gram_matrix() -> None:
    x, y = features((20, 20, 20), 30)
    probe = Probe.of(x, y)
    for rows, target in draw_replicates(probe.target, seed=0).four_fifth_samples.parts[:3]:
        for form in ("spherical", "diagonal"):
            assert gbc._part_moments(probe.matrix, rows, target, 4, form) is not None
