"""A metric written as a plain function of arrays, as the README describes it."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zoo_cli import registry, specs
from zoo_cli.entries import Metric
from zoo_cli.metrics.plain_metrics import accept_probe
from zoo_cli.metrics.probe import Probe
from zoo_cli.ranking import uncertainty
from zoo_cli.ranking.uncertainty import Estimate

from ..workspaces import run
from .probes import features

SOURCE = '''
"""Between-class share of the variance."""

import numpy as np


def mine(inputs, labels, *, k: int = 5) -> float:
    assert sorted(set(labels.tolist())) == list(range(labels.max() + 1))
    rows = inputs[:, :k].astype(np.float64)
    rows = rows - rows.mean(axis=0)
    means = np.stack([rows[labels == c].mean(axis=0) for c in range(labels.max() + 1)])
    return float((means[labels] ** 2).sum() / (rows**2).sum())


def ceiling(inputs, labels, *, k: int = 5) -> float:
    return 1.0 if k else 0.0


def leave_one_out(inputs, labels, *, k: int = 5):
    kept = (np.delete(np.arange(len(labels)), i) for i in range(len(labels)))
    return np.array([mine(inputs[rows], labels[rows], k=k) for rows in kept])
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of its own, outside the package, that defines the metric."""
    (tmp_path / "plain_metric_of_a_test.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return "plain_metric_of_a_test"


def estimate(spec: str, probe: Probe) -> Estimate:
    method = specs.resolve("metric", spec)
    (result,) = uncertainty.estimate_scores([(method, registry.METRICS[method.name])], probe, seed=0)
    assert isinstance(result, Estimate)
    return result


def variance_share(x: np.ndarray, y: np.ndarray, k: int) -> float:
    rows = x[:, :k] - x[:, :k].mean(axis=0, dtype=np.float64)
    means = {label: rows[y == label].mean(axis=0) for label in np.unique(y)}
    return float(sum((means[label] ** 2).sum() for label in y) / (rows**2).sum())


def test_plain_metric_has_interval_and_chance(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.METRICS, "mine", Metric(f"{module}:mine", "for a test", ceiling=1.0))
    x, y = features((20, 15, 10), 8)
    names = np.array([7, -3, 12])[y]
    for spec, k in (("mine", 5), ("mine:k=2", 2)):
        result = estimate(spec, Probe.of(x, names))
        assert result.value == pytest.approx(variance_share(x, y, k))
        assert result.low is not None
        assert result.high is not None
        assert result.chance is not None
        assert result.low < result.value < result.high < 1
        assert 0 < result.chance < result.low
        assert result.ceiling == 1.0
        assert specs.resolve("metric", spec).spec == spec


def test_zoo_score_takes_a_plain_metric(tmp_path: Path, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.METRICS, "mine", Metric(f"{module}:mine", "for a test"))
    x, y = features((20, 15, 10), 8)
    columns = {"id": [str(row) for row in range(len(y))], "label": y, "embedding": list(x)}
    pq.write_table(pa.table(columns), tmp_path / "source.parquet")
    result = run("score", "--features", str(tmp_path / "source.parquet"), "--metric", "mine:k=2", "--json")
    assert result.code == 0, result.err
    (row,) = result.data
    assert (row["metric"], row["params"], row["status"]) == ("mine", "k=2", "ok")
    assert row["value"] == pytest.approx(variance_share(x, y, 2))
    assert 0 < row["chance"] < row["low"] < row["value"] < row["high"]


def test_further_functions_may_be_plain_too(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Metric(
        f"{module}:mine",
        "for a test",
        ceiling=f"{module}:ceiling",
        leave_one_out=f"{module}:leave_one_out",
        four_fifths=True,
    )
    monkeypatch.setitem(registry.METRICS, "mine", entry)
    x, y = features((12, 9, 6), 8)
    result = estimate("mine:k=3", Probe.of(x, y))
    others = [variance_share(np.delete(x, i, axis=0), np.delete(y, i), 3) for i in range(len(y))]
    assert result.ceiling == 1.0
    expected = uncertainty.jackknife_interval(result.value, np.array(others), seed=0)
    assert (result.low, result.high) == pytest.approx((expected.low, expected.high))


def test_metric_of_a_probe_is_returned_as_it_is() -> None:
    def of_probe(probe: Probe, *, k: int = 1) -> float:
        return float(probe.size * k)

    assert accept_probe(of_probe) is of_probe
