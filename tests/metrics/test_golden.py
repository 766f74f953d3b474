"""The true values of six probe sets, computed independently from the definitions in float64."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zoo_cli import specs
from zoo_cli.metrics.probe import Probe

from ..shared_material import SHARED

pytestmark = pytest.mark.skipif(SHARED is None, reason="needs the development material")

# Row of the file: (metric as a user types it, the arrays it reads).
ROWS = {
    "parc": ("parc", "features"),
    "parc_probs": ("parc", "probs"),
    "parc_pca32": ("parc:pca=32", "features"),
    "parc_pca32_cosine": ("parc:pca=32,cosine=true", "features"),
    "rsa_labels": ("rsa", "features"),
    "rsa_labels_probs": ("rsa", "probs"),
    "cka_linear": ("cka", "features"),
    "cka_linear_probs": ("cka", "probs"),
    "cka_linear_debiased": ("cka:debiased=true", "features"),
    "cka_linear_probs_debiased": ("cka:debiased=true", "probs"),
    "lfc": ("lfc", "features"),
    "lfc_offdiag": ("lfc:offdiag=true", "features"),
    "leep": ("leep", "probs"),
    "nce": ("nce", "probs"),
    "logme_converged_eps1e-5": ("logme", "features"),
    "hscore": ("hscore", "features"),
    "hscore_shrunk": ("hscore:shrunk=true", "features"),
    "transrate": ("transrate", "features"),
    "transrate_paper": ("transrate:form=paper", "features"),
    "gbc_spherical": ("gbc:pca=0", "features"),
    "gbc_diagonal": ("gbc:form=diagonal,pca=0", "features"),
    "knn1": ("knn:k=1", "features"),
    "knn3": ("knn:k=3", "features"),
    "knn5": ("knn:k=5", "features"),
    "knn1_cosine": ("knn:k=1,distance=cosine", "features"),
    "sfda": ("sfda", "features"),
}
CASES = (
    "s1_small_balanced",
    "s2_imbalanced_ties",
    "s3_d_gt_n",
    "s4_n_gt_d",
    "s5_binary",
    "s6_wide_many_classes",
)
# Two of its 32 columns are constant, so that two of 32 components have no variance: by definition they become 0. The
# file standardised their rounding noise instead, and its value varies between processors by more than the tolerance.
NOISE = {("s2_imbalanced_ties", "parc_pca32"), ("s2_imbalanced_ties", "parc_pca32_cosine")}


@cache
def golden() -> dict[str, Any]:
    assert SHARED is not None
    content = json.loads(Path(SHARED / "golden" / "metrics.json").read_text())
    recipe: dict[str, Any] = {}
    exec(content["recipe_python"], recipe)
    return {case["name"]: {**case, "arrays": recipe["make_case"](**case["recipe"])} for case in content["cases"]}


@pytest.mark.parametrize("case", CASES)
def test_arrays_match_their_checksums(case: str) -> None:
    for name, checksum in golden()[case]["sha256"].items():
        digest, kind, *_ = checksum.split()
        array = golden()[case]["arrays"][name]
        assert hashlib.sha256(array.tobytes()).hexdigest()[: len(digest)] == digest
        assert str(array.dtype) == kind


@pytest.mark.parametrize(("case", "row"), [(c, r) for c in CASES for r in ROWS if (c, r) not in NOISE])
def test_every_metric_has_its_true_value(case: str, row: str) -> None:
    spec, on = ROWS[row]
    method = specs.resolve("metric", spec)
    arrays = golden()[case]["arrays"]
    (true,) = [v["value"] for v in golden()[case]["values"] if v["peer"] == "definition" and v["metric"] == row]
    probe = Probe.of(arrays[on], arrays["labels"])
    assert method.function(probe, **method.params) == pytest.approx(true, rel=3e-6, abs=0)


def test_components_without_variance_do_not_change_parc() -> None:
    arrays = golden()["s2_imbalanced_ties"]["arrays"]
    parc = specs.resolve("metric", "parc").function
    probe = Probe.of(arrays["features"], arrays["labels"])
    assert np.linalg.matrix_rank(probe.matrix.centred) == 30
    expected = parc(probe, pca=30, cosine=True)
    assert parc(probe, pca=32, cosine=True) == pytest.approx(expected, abs=1e-12)
