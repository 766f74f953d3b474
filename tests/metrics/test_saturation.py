"""Where scores saturate, lose digits or have no value, and that this is reported."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from zoo_cli import registry, specs
from zoo_cli.errors import Undefined, UsageError
from zoo_cli.metrics import pairs
from zoo_cli.metrics.matrix import Matrix
from zoo_cli.metrics.probe import Probe
from zoo_cli.ranking import uncertainty
from zoo_cli.ranking.uncertainty import Estimate

from . import references
from .probes import features, one_hot, score

Array = NDArray[Any]


def estimate(spec: str, x: Array, y: Array) -> Estimate:
    method = specs.resolve("metric", spec)
    (result,) = uncertainty.estimate_scores([(method, registry.METRICS[method.name])], Probe.of(x, y), seed=0)
    assert isinstance(result, Estimate)
    return result


def test_hscore_of_wide_features_is_saturated() -> None:
    x, y = features((8, 8, 8), 40)
    whole = estimate("hscore", x, y)
    assert whole.value == whole.ceiling == 2.0
    assert whole.flags == ("saturated",)
    assert whole.reason == "constant_on_halves"
    # Four fifths of the probe hold fewer samples than columns.
    x, y = features((12, 12, 12), 32)
    whole = estimate("hscore", x, y)
    assert whole.flags == ()
    assert whole.reason == "constant_on_halves"
    shrunk = estimate("hscore:shrunk=true", x, y)
    assert shrunk.flags == ()
    assert shrunk.low is not None


@pytest.mark.parametrize("width", [6, 40])
def test_hscore_counts_directions_down_to_rounding(width: int) -> None:
    x, y = features((8, 8, 8), width)
    wide = x.astype(np.float64)
    # Two columns that differ by a billionth: their difference is a direction, the more so if it knows a class.
    wide[:, 1] = wide[:, 0] + 1e-9 * (y == 0)
    assert score("hscore", wide, y) == pytest.approx(score("hscore", np.c_[wide, y == 0], y), rel=1e-5)
    wide[:, 1] = wide[:, 0]
    repeated = score("hscore", wide, y)
    assert repeated == pytest.approx(score("hscore", np.delete(wide, 1, axis=1), y), rel=1e-9)


def test_sfda_of_wide_features_is_saturated() -> None:
    x, y = features((12, 12, 12), 200)
    whole = estimate("sfda", x, y)
    assert whole.value == whole.ceiling == 1.0
    assert whole.flags == ("saturated",)


def test_sfda_is_precise_for_near_singular_covariance() -> None:
    # Two equal rows of two classes. 40 digits of mpmath give 0.9375563780841148.
    x, y = features((8, 8, 8, 8), 70, seed=70)
    x[5] = x[2]
    assert score("sfda", x, y) == pytest.approx(0.9375563780841148, abs=1e-12)


def test_sfda_is_undefined_without_spread_within_classes() -> None:
    y = np.repeat([0, 1, 2], 4)
    with pytest.raises(Undefined, match="no_spread_within_classes"):
        score("sfda", one_hot(y), y)


def test_underflowing_gbc_is_flagged_but_not_its_log() -> None:
    x, y = features((20, 20), 400, apart=10.0)
    whole = estimate("gbc:form=diagonal,pca=0", x, y)
    assert whole.value == 0
    assert whole.flags == ("saturated",)
    logarithm = estimate("gbc:form=diagonal,pca=0,log=true", x, y)
    assert logarithm.value > 700
    assert logarithm.flags == ()
    assert logarithm.low is not None


def test_logme_notes_unbounded_evidence() -> None:
    x, y = features((10, 10), 60)
    assert estimate("logme", x, y).flags == ("unbounded",)
    x, y = features((30, 30), 5)
    assert estimate("logme", x, y).flags == ()


@pytest.mark.parametrize(("sizes", "width"), [((20, 15, 10), 6), ((20, 15, 10), 90)])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_logme_is_precise_far_from_the_origin(sizes: tuple[int, ...], width: int, offset: float) -> None:
    x, y = features(sizes, width)
    wide = x.astype(np.float64)
    wide[:, 0] += offset
    expected = references.logme(wide, y)
    assert score("logme", wide, y) == pytest.approx(expected, rel=1e-6 if not offset else 1e-4)


def test_ridge_of_wide_features_does_not_saturate() -> None:
    x, y = features((30, 30, 30), 300, apart=0.3)
    noise = np.random.default_rng(0).standard_normal(x.shape)
    assert 0.1 < score("ridge", x, y) < 0.999
    assert abs(score("ridge", noise, y)) < 0.05


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("k", [1, 5])
def test_neighbours_in_float32_are_exact(monkeypatch: pytest.MonkeyPatch, k: int, distance: str) -> None:
    monkeypatch.setattr(pairs, "FLOAT64_ROWS", 0)
    x, y = features((60, 50, 40, 30), 64, apart=0.3)
    x += 5
    x[7] = x[100]
    expected = references.knn(x, y, k, distance)
    assert score("knn", x, y, k=k, distance=distance) == expected


def test_neighbours_among_equal_rows_are_the_first() -> None:
    x, y = features((200, 120), 3)
    x[20:150] = x[7]
    x[150:200] = 0
    for distance in ("euclidean", "cosine"):
        expected = references.knn(x, y, 3, distance)
        assert score("knn", x, y, k=3, distance=distance) == expected


def test_k_is_limited_by_the_number_of_samples() -> None:
    x, y = features((3, 2), 4)
    assert np.isfinite(score("knn", x, y, k=4))
    with pytest.raises(Undefined, match="too_few_examples"):
        score("knn", x, y, k=5)
    with pytest.raises(UsageError, match="k=0"):
        score("knn", x, y, k=0)
    with pytest.raises(UsageError, match="pca=-1"):
        score("gbc", x, y, pca=-1)


def test_random_score_depends_on_name_and_seed_alone() -> None:
    x, y = features((9, 7), 4)
    function = specs.resolve("metric", "random").function
    named = [function(Probe.of(x, y, name=name)) for name in ("a", "b", "a")]
    assert named[0] == named[2] != named[1]
    assert function(Probe.of(x, y, name="a"), seed=1) != named[0]
    draws = [function(Probe.of(x, y, name=f"source {i}")) for i in range(300)]
    assert np.mean(draws) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("width", [5, 30])
def test_both_decompositions_reconstruct_the_centred_rows(width: int) -> None:
    x, _ = features((8, 6), width)
    matrix = Matrix.of(x)
    for spectrum in (matrix.spectrum, matrix.exact_spectrum):
        root = np.sqrt(spectrum.values)
        if spectrum.right is not None:
            left, right = matrix.centred @ spectrum.right / root, spectrum.right
        else:
            assert spectrum.left is not None
            left, right = spectrum.left, matrix.centred.T @ spectrum.left / root
        np.testing.assert_allclose(left * root @ right.T, matrix.centred, atol=1e-10)
        np.testing.assert_allclose(left.T @ left, np.eye(len(root)), atol=1e-8)


def test_float32_gram_norm_of_large_matrix_is_near_exact() -> None:
    draw = np.random.default_rng(0)
    for shape in ((2100, 70), (2100, 2200)):
        matrix = Matrix.of(draw.standard_normal(shape).astype(np.float32) + 3)
        exact = float((matrix.gram**2).sum())
        assert Matrix.of(matrix.inputs).squared_gram == pytest.approx(exact, rel=3e-7)
