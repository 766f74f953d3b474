"""Each metric against its slow reference implementation; and special probes with known scores."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from zoo_cli import registry

from . import references
from .probes import features, one_hot, probabilities, score

REFERENCES: dict[str, Callable[..., float]] = {
    "parc": references.parc,
    "rsa": references.rsa,
    "cka": references.cka,
    "cka:debiased=true": references.cka_debiased,
    "lfc": references.lfc,
    "lfc:offdiag=true": references.lfc_offdiag,
    "lgc": references.lfc,
    "lgc:outputs=sum": references.lfc,
    "leep": references.leep,
    "ms-leep": references.leep,
    "e-leep": references.leep,
    "nce": references.nce,
    "logme": references.logme,
    "hscore": references.hscore,
    "hscore:shrunk=true": references.hscore_shrunk,
    "transrate": references.transrate,
    "transrate:form=paper": references.transrate_paper,
    "gbc": references.gbc,
    "gbc:log=true": references.gbc_log,
    "gbc:form=diagonal,pca=0": references.gbc_diagonal,
    "sfda": references.sfda,
    "knn": references.knn,
    "knn:k=1": partial(references.knn, k=1),
    "knn:k=3,distance=cosine": partial(references.knn, k=3, distance="cosine"),
    "ridge": references.ridge,
}
# Random numbers have no formula.
NO_FORMULA = {"random"}
# They read more than inputs and labels, or use random numbers; see their own test files.
ELSEWHERE = {"rsa-ref", "domain-similarity", "sparsity", "nleep"}
# The reference iterates, or inverts matrices that are nearly singular.
LOOSE = {"logme": 1e-6, "sfda": 1e-6}
# The reference loses its digits here, depending on the number of threads; test_saturation.py has 40 digits.
ILL_CONDITIONED = {("sfda", "balanced", 70)}
SIZES = {
    "balanced": (8, 8, 8, 8),
    "imbalanced": (17, 9, 4, 2, 1),
    "two classes": (20, 11),
    "mostly singletons": (3, 1, 1, 1, 1, 1, 1),
}


def test_every_metric_of_the_table_has_a_reference() -> None:
    assert set(registry.METRICS) - NO_FORMULA - ELSEWHERE <= set(REFERENCES)


@pytest.mark.parametrize("width", [3, 12, 70])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("spec", REFERENCES)
def test_a_metric_equals_its_formula(spec: str, sizes: str, width: int) -> None:
    if (spec, sizes, width) in ILL_CONDITIONED:
        return
    x, y = features(SIZES[sizes], width, seed=width)
    if registry.METRICS[spec.partition(":")[0]].on[0] == "probs":
        x = probabilities(y, width, seed=width)
    x[5] = x[2]  # equal rows, so that distances tie
    assert score(spec, x, y) == pytest.approx(REFERENCES[spec](x, y), rel=LOOSE.get(spec, 1e-9), abs=1e-12)


@pytest.mark.parametrize("sizes", SIZES)
def test_normalized_parc_is_rescaled_auc(sizes: str) -> None:
    x, y = features(SIZES[sizes], 6, seed=1)
    assert score("parc", x, y, normalized=True) == pytest.approx(2 * references.auc(x, y) - 1, abs=1e-12)


def test_normalized_parc_is_parc_over_its_ceiling() -> None:
    x, y = features((9, 7, 5), 10)
    pairs, same = 21 * 20 / 2, 9 * 4 + 7 * 3 + 5 * 2
    ceiling = np.sqrt(3 * same * (pairs - same) / (pairs**2 - 1))
    assert score("parc", x, y, normalized=True) == pytest.approx(score("parc", x, y) / ceiling, rel=1e-12)


def test_well_separated_classes_reach_the_ceiling_of_parc() -> None:
    x, y = features((6, 6, 6), 30, apart=50.0)
    assert score("parc", x, y, normalized=True) == pytest.approx(1.0)


@pytest.mark.parametrize("sizes", [(7, 7, 7), (13, 4)])
def test_rsa_is_parc_for_balanced_classes_and_for_two(sizes: tuple[int, ...]) -> None:
    x, y = features(sizes, 9)
    assert score("rsa", x, y) == pytest.approx(score("parc", x, y), rel=1e-12)


def test_rsa_is_not_parc_for_unequal_classes() -> None:
    x, y = features((12, 6, 3), 9)
    assert abs(score("rsa", x, y) - score("parc", x, y)) > 1e-3


@pytest.mark.parametrize("cosine", [False, True])
def test_all_components_are_a_rotation_of_the_features(cosine: bool) -> None:
    x, y = features((10, 10, 10), 5)
    wide = x.astype(np.float64)
    _, _, loadings = np.linalg.svd(wide - wide.mean(axis=0), full_matrices=False)
    largest = np.abs(loadings).argmax(axis=1)
    signed = loadings * np.sign(loadings[np.arange(5), largest])[:, None]
    scores: Any = (wide - wide.mean(axis=0)) @ signed.T
    assert score("parc", x, y, pca=5, cosine=cosine) == pytest.approx(score("parc", scores, y, cosine=cosine), rel=1e-9)
    assert score("parc", x, y, pca=99, cosine=cosine) == score("parc", x, y, pca=5, cosine=cosine)


def test_leep_of_uninformative_source_is_minus_label_entropy() -> None:
    y = np.repeat([0, 1, 2], [10, 20, 30])
    x = np.tile([[0.5, 0.3, 0.2], [0.3, 0.5, 0.2]], (30, 1))
    shares = np.array([1 / 6, 1 / 3, 1 / 2])
    assert score("leep", x, y) == pytest.approx((shares * np.log(shares)).sum())


def test_leep_of_perfect_source_is_zero() -> None:
    y = np.repeat([0, 1, 2], 5)
    x = np.concatenate([one_hot(y), np.zeros((15, 2))], axis=1)
    assert score("leep", x, y) == pytest.approx(0.0, abs=1e-12)
