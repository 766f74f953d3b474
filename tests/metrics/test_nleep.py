"""NLEEP: LEEP of a mixture's components, reproducible, with the spread over its starting points."""

import sys

import numpy as np
import pytest

from zoo_cli.errors import UsageError
from zoo_cli.metrics.leep import leep
from zoo_cli.metrics.nleep import nleep
from zoo_cli.metrics.probe import Probe

from .probes import features

pytest.importorskip("sklearn")


def test_nleep_is_leep_of_the_mixture_memberships() -> None:
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture

    x, y = features((40, 30, 30), 10, seed=3)
    wide = x.astype(np.float64)
    scores = PCA(n_components=0.8, svd_solver="full").fit_transform(wide)
    scores /= np.sqrt((scores**2).mean())
    order = np.argsort(((wide - wide.mean(axis=0)) ** 2).sum(axis=1))
    mixture = GaussianMixture(15, covariance_type="diag", reg_covar=1e-3, random_state=0).fit(scores[order])
    expected = leep(Probe.of(mixture.predict_proba(scores), y))
    assert nleep(Probe.of(x, y), seeds=1) == pytest.approx(expected, abs=1e-6)


def test_value_is_the_mean_over_starts_with_noted_spread() -> None:
    x, y = features((40, 30, 30), 10, apart=0.7, seed=1)
    each = [nleep(Probe.of(x, y), seed=seed, seeds=1) for seed in range(2, 6)]
    probe = Probe.of(x, y)
    assert nleep(probe, seed=2, seeds=4) == pytest.approx(np.mean(each), abs=1e-12)
    assert probe.notes == [f"seeds_sd={np.std(each, ddof=1):.2g}"]
    assert np.std(each) > 1e-3
    single = Probe.of(x, y)
    nleep(single, seeds=1)
    assert single.notes == []


def test_small_probe_has_fewer_components_and_no_warning() -> None:
    x, y = features((3, 2, 2, 2), 6)
    x[1] = x[0]
    assert -2 < nleep(Probe.of(x, y)) <= 0


def test_permuted_labels_reuse_the_mixture(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = features((20, 20), 6)
    probe = Probe.of(x, y)
    value = nleep(probe)
    monkeypatch.setattr("sklearn.mixture.GaussianMixture.fit", None)
    assert nleep(probe.with_labels(probe.target.permuted(np.arange(40)[::-1]))) != value


def test_better_separated_classes_score_higher() -> None:
    values = [nleep(Probe.of(*features((30, 30, 30), 8, apart=apart, seed=2))) for apart in (0.1, 0.6, 2.0)]
    assert values == sorted(values)


def test_missing_scikit_learn_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.mixture", None)
    with pytest.raises(UsageError, match=r"zoo-cli\[metrics\]"):
        nleep(Probe.of(*features((9, 7), 6)))


def test_seeds_must_be_positive() -> None:
    with pytest.raises(UsageError, match="seeds=0"):
        nleep(Probe.of(*features((9, 7), 6)), seeds=0)
