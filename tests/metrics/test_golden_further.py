"""The true values of the scores that read more than inputs and labels, on the same six probe sets."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from zoo_cli.metrics import e_leep, ms_leep
from zoo_cli.metrics.domain_similarity import domain_similarity
from zoo_cli.metrics.leep import predictions
from zoo_cli.metrics.nleep import nleep
from zoo_cli.metrics.probe import Probe
from zoo_cli.metrics.rsa_ref import rsa_ref
from zoo_cli.metrics.sparsity import sparsity

from ..shared_material import SHARED
from .test_golden import CASES, golden

Array = NDArray[Any]

pytestmark = [
    pytest.mark.skipif(SHARED is None, reason="needs the development material"),
    pytest.mark.parametrize("case", CASES),
]


def true(case: str, row: str, peer: str = "definition") -> Any:
    (value,) = [v["value"] for v in golden()[case]["values"] if v["peer"].startswith(peer) and v["metric"] == row]
    return value


def probe(case: str) -> Probe:
    arrays = golden()[case]["arrays"]
    named = {"reference": "ref_features", "source_means": "source_means", "source_counts": "source_counts"}
    return Probe.of(arrays["features"], arrays["labels"], **{key: arrays[name] for key, name in named.items()})


def test_rsa_against_a_reference(case: str) -> None:
    assert rsa_ref(probe(case)) == pytest.approx(true(case, "rsa_ref"), rel=3e-6, abs=0)


def test_rsa_ref_of_standardised_columns_differs(case: str) -> None:
    raw = probe(case)
    assert raw.reference is not None
    sides = (raw.inputs.astype(np.float64), raw.reference.astype(np.float64))
    scaled = [(side - side.mean(axis=0)) / np.where(np.ptp(side, axis=0) > 0, side.std(axis=0), 1) for side in sides]
    score = rsa_ref(Probe.of(scaled[0], raw.target, reference=scaled[1]))
    assert score == pytest.approx(true(case, "rsa_ref_std"), rel=3e-6, abs=0)
    assert abs(score - rsa_ref(raw)) > 1e-3


@pytest.mark.parametrize(("row", "least"), [("domain_similarity", 0), ("domain_similarity_min200", 200)])
def test_domain_similarity_and_its_distance(case: str, row: str, least: int) -> None:
    distance, similarity = true(case, row)
    assert domain_similarity(probe(case), min_images=least) == pytest.approx(similarity, rel=3e-6, abs=0)
    assert -np.log(domain_similarity(probe(case), gamma=1.0, min_images=least)) == pytest.approx(distance, rel=3e-6)


def test_sparsity(case: str) -> None:
    assert sparsity(probe(case)) == pytest.approx(true(case, "sparsity_zero_fraction"), rel=3e-6, abs=0)


def test_ensembles_of_two_sources(case: str) -> None:
    arrays = golden()[case]["arrays"]
    logits = arrays["logits"].astype(np.float64)
    second: Array = logits - logits.min()
    sources = (arrays["probs"], second / second.sum(axis=1, keepdims=True))
    members = np.stack([predictions(Probe.of(probs, arrays["labels"])) for probs in sources])
    assert e_leep.joined(members) == pytest.approx(true(case, "e_leep"), rel=3e-6, abs=0)
    assert ms_leep.joined(members) == pytest.approx(true(case, "ms_leep"), rel=3e-6, abs=0)


def test_nleep_is_near_another_mixture_of_the_same_size(case: str) -> None:
    """Indicative only: the other has spherical components and another starting point, on which the value depends."""
    pytest.importorskip("sklearn")
    assert nleep(probe(case)) == pytest.approx(true(case, "nleep_awesome", "secret-hammer"), abs=0.15)
