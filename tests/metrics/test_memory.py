"""How much memory each metric needs: a few arrays of the size of the features or of the smaller Gram matrix, and a
fixed number of bytes, whatever the shape of the probe."""

import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax

from zoo_cli import registry, specs
from zoo_cli.errors import ZooError
from zoo_cli.metrics import class_auc, counted_pairs, gbc, kept_pairs, knn, logme, matrix, pairs, ridge, rsa, sfda
from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.matrix import Matrix
from zoo_cli.metrics.plain_metrics import accept_probe
from zoo_cli.metrics.probe import Probe
from zoo_cli.pipeline import score_memory
from zoo_cli.pipeline.metric_specs import parse_metric
from zoo_cli.ranking import uncertainty

from . import test_contract
from .probes import features

Array = NDArray[Any]

MB = 1 << 20
SHAPES = {"wide": (60, 12_000, 5), "tall": (2_000, 8, 4), "many classes": (2_000, 8, 1_000)}
"""Samples, features and classes. D x D, N x N and N x C in float64: 1.2 GB, 32 MB and 16 MB."""
COPIES = 9  # of the features in float64, or of the smaller Gram matrix
SMALL_BLOCK = 10 * MB  # with the small blocks of `small_blocks`
BLOCK = 400 * MB
# Solves a linear programme, or fits a mixture: they say what they need, which is tested by itself.
DECLARED = {name for name, entry in registry.METRICS.items() if entry.memory}
SPECS = [spec for spec in test_contract.SPECS if spec.partition(":")[0] not in DECLARED]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and limits small enough for arrays that a test can afford to exceed."""
    for module, name, value in (
        (pairs, "KEPT", 1 << 16),
        (class_auc, "KEPT", 1 << 16),
        (counted_pairs, "HALF", 1 << 15),
        (counted_pairs, "LEVELS", (1 << 16) + 1),
        (counted_pairs, "ENTRIES", 1 << 16),
        (counted_pairs, "KEPT", 1 << 14),
        (counted_pairs, "GROUP", 256),
        (knn, "ENTRIES", 1 << 16),
        (gbc, "ENTRIES", 1 << 16),
        (ridge, "ENTRIES", 1 << 16),
        (sfda, "ENTRIES", 1 << 16),
        (logme, "ENTRIES", 1 << 16),
    ):
        monkeypatch.setattr(module, name, value)
    for module in (class_auc, rsa):
        monkeypatch.setattr(module, "LEVELS", (1 << 16) + 1)


def probe(on: str, count: int, width: int, classes: int) -> Probe:
    """Gaussian classes, or probabilities of a source with `width` classes, and what metrics need beside them."""
    draw = np.random.default_rng(0)
    labels = np.arange(count) % classes
    inputs = draw.standard_normal((count, width), dtype=np.float32)
    inputs += draw.standard_normal((classes, width), dtype=np.float32)[labels]
    return Probe.of(
        softmax(inputs, axis=1) if on == "probs" else inputs,
        labels,
        reference=inputs[:, : width // 2] + draw.standard_normal((count, width // 2), dtype=np.float32),
        gradients_sum=inputs,
        projected_gradients=("trace",) if width % 5 == 0 else (),
    )


def peak(work: Callable[[], Any]) -> int:
    """The bytes that numpy allocates at once while this runs."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def bound(whole: Probe) -> int:
    count, width = whole.inputs.shape
    return COPIES * 8 * max(count * width, min(count, width) ** 2)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.usefixtures("small_blocks")
def test_memory_grows_with_the_features_alone(spec: str, shape: str) -> None:
    method = specs.resolve("metric", spec)
    entry = registry.METRICS[method.name]
    whole = probe(entry.on[0], *SHAPES[shape])
    assert peak(lambda: accept_probe(method.function)(whole, **method.params)) <= bound(whole) + SMALL_BLOCK
    for target in (entry.leave_one_out, entry.ceiling if isinstance(entry.ceiling, str) else ""):
        if target:
            again = probe(entry.on[0], *SHAPES[shape])
            function = accept_probe(registry.import_target(target))
            assert peak(lambda: function(again, **method.params)) <= bound(again) + SMALL_BLOCK  # noqa: B023


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.usefixtures("small_blocks")
def test_class_auc_needs_no_table_of_pairs(shape: str) -> None:
    whole = probe("features", *SHAPES[shape])
    labels = np.minimum(whole.target.codes, 30)
    assert peak(lambda: class_auc.class_auc(whole.inputs, labels)) <= bound(whole) + SMALL_BLOCK


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spec", ["parc", "sfda"])
@pytest.mark.usefixtures("small_blocks")
def test_intervals_need_little_more_than_the_score(spec: str, shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MANY", 50), ("FEW_SUBSAMPLES", 3), ("FEW_PERMUTATIONS", 1), ("KEPT_MIX", 1 << 16)):
        monkeypatch.setattr(uncertainty, name, value)
    method = specs.resolve("metric", spec)
    whole = probe("features", *SHAPES[shape])
    metrics = [(method, registry.METRICS[spec])]
    used = peak(lambda: uncertainty.estimate_scores(metrics, whole, seed=0))
    assert used <= 1.5 * bound(whole) + SMALL_BLOCK  # of a subsample beside the whole


LARGE = {"wide": (200, 50_000, 10), "tall": (12_000, 16, 5), "many classes": (12_000, 16, 6_000)}
CHILD = """
import resource, sys
import numpy as np
from tests.metrics.test_memory import BLOCK, bound, probe
from zoo_cli import registry, specs
from zoo_cli.ranking import uncertainty
method = specs.resolve("metric", sys.argv[1])
entry = registry.METRICS[method.name]
whole = probe(entry.on[0], *map(int, sys.argv[2:]))
uncertainty.SUBSAMPLES = uncertainty.FEW_SUBSAMPLES = 2
replicates = uncertainty.draw_replicates(whole.target, seed=0, permutations=1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
uncertainty.estimate_scores([(method, entry)], whole, seed=0, replicates=replicates)
used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
assert used <= bound(whole) + BLOCK, (used, bound(whole))
"""


@pytest.mark.slow
@pytest.mark.parametrize("shape", LARGE)
@pytest.mark.parametrize("spec", SPECS)
def test_a_process_stays_small(spec: str, shape: str) -> None:
    command = [sys.executable, "-c", CHILD, spec, *map(str, LARGE[shape])]
    result = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("total", [900, pytest.param(1500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("sizes", [(20,) * 5, (46, 28, 16, 6, 4), (1,), (80, 20)], ids=str)
@pytest.mark.parametrize("spec", ["parc", "parc:cosine=true", "rsa", "rsa-ref", "knn", "knn:distance=cosine"])
def test_counted_pairs_have_the_score_of_kept_ones(
    spec: str, sizes: tuple[int, ...], total: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sizes`: of the classes, in percent; (1,): each has three samples."""
    sizes = (3,) * (total // 3) if sizes == (1,) else tuple(size * total // 100 for size in sizes)
    if total < 1500:  # still several tiles, and groups of small classes
        monkeypatch.setattr(counted_pairs, "ENTRIES", 1 << 16)
        monkeypatch.setattr(counted_pairs, "GROUP", 128)
    x, y = features(sizes, 70, apart=0.3)
    x[:40] = np.rint(x[40:80])  # coarse values
    x[80:90] = x[90]
    method = specs.resolve("metric", spec)
    scores = []
    for kept in (True, False):
        monkeypatch.setattr(pairs, "fit_in_memory", lambda *_, kept=kept: kept)
        scores.append(method.function(Probe.of(x, y, reference=np.tanh(x[:, :30])), **method.params))
    # Few pairs of one class are compared exactly; with several label distances, or two networks, the grid counts, whose
    # ties count as one over the root of the number of pairs.
    assert scores[1] == pytest.approx(scores[0], rel=1e-8 * 1500 / total if spec.startswith("rsa") else 1e-9)


def test_grid_has_the_score_of_kept_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = features((800, 700), 70, apart=0.3)
    target = Classes.of(y)
    rows = pairs.unit_rows(x)
    monkeypatch.setattr(counted_pairs, "KEPT", 0)
    kept, counted = kept_pairs.KeptPairs(pairs.similarities(rows)), counted_pairs.CountedPairs(rows)
    assert counted.same_below(target) == pytest.approx(kept.same_below(target), rel=1e-9)
    assert counted.variance == pytest.approx(kept.variance, rel=1e-9)


def test_leave_one_out_of_counted_pairs_is_that_of_kept_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = features((150, 100, 50, 2), 70, apart=0.3)
    function = registry.import_target(registry.METRICS["parc"].leave_one_out)
    kept = function(Probe.of(x, y))
    monkeypatch.setattr(pairs, "fit_in_memory", lambda *_: False)
    np.testing.assert_allclose(function(Probe.of(x, y)), kept, rtol=1e-6)


def test_class_auc_of_counted_pairs_is_that_of_kept_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = features((150, 100, 50, 1), 70, apart=0.3)
    kept = class_auc.class_auc(x, y)
    monkeypatch.setattr(class_auc, "KEPT", 0)
    np.testing.assert_allclose(class_auc.class_auc(x, y), kept, rtol=1e-6)


def test_features_without_spread_are_one_tie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "fit_in_memory", lambda *_: False)
    rows = np.ones((50, 6)) / np.sqrt(6)
    assert counted_pairs.CountedPairs(rows * np.linspace(1, 1 + 1e-15, 50)[:, None]).variance == 0


@pytest.mark.parametrize("spec", ["sfda", "ridge", "gbc", "gbc:form=diagonal", "gbc:log=true", "logme"])
@pytest.mark.parametrize("sizes", [(12, 9, 7, 5), (3,) * 40, (2,) * 20 + (1,) * 20], ids=str)
@pytest.mark.parametrize("width", [5, 30, 400])
def test_blocks_do_not_change_a_score(
    spec: str, sizes: tuple[int, ...], width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = features(sizes, width)
    method = specs.resolve("metric", spec)
    at_once = method.function(Probe.of(x, y), **method.params)
    for module in (sfda, ridge, gbc, logme):
        monkeypatch.setattr(module, "ENTRIES", 7)
    assert method.function(Probe.of(x, y), **method.params) == pytest.approx(at_once, rel=1e-9)


@pytest.mark.parametrize("width", [250, pytest.param(3000, marks=pytest.mark.slow)])
def test_rotated_features_have_the_sfda_of_all(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = features((9, 8, 8), 3, apart=0.5)
    x = x @ np.random.default_rng(1).standard_normal((3, width))  # of full rank it would saturate
    whole = Probe.of(x, y)
    half = np.arange(0, 25, 2)
    values = [sfda.sfda(whole), sfda.sfda(whole.take(half))]
    monkeypatch.setattr(sfda, "WIDE", width)
    direct = Probe.of(x, y)
    assert values == pytest.approx([sfda.sfda(direct), sfda.sfda(direct.take(half))], rel=1e-9)
    assert values[0] < 1 - 1e-6


@pytest.mark.parametrize("spec", sorted(DECLARED))
def test_declared_memory_is_what_is_needed(spec: str) -> None:
    if spec == "nleep":
        pytest.importorskip("sklearn")
    count, classes = 600, 100
    x, y = features((count // classes,) * classes, 8)
    draw = np.random.default_rng(1)
    further = {"source_means": draw.standard_normal((100, 8)), "source_counts": np.full(100, 30)}
    whole = Probe.of(x, y, **(further if spec == "domain-similarity" else {}))
    method = specs.resolve("metric", spec)
    needed = registry.import_target(registry.METRICS[spec].memory)(whole, **method.params)
    used = peak(lambda: method.function(whole, **({"seeds": 1} if spec == "nleep" else {})))
    # HiGHS allocates most of it itself, which is not traced.
    assert needed / (40 if spec == "domain-similarity" else 4) < used < needed + bound(whole) + SMALL_BLOCK


@pytest.mark.parametrize("spec", [*SPECS, *sorted(DECLARED)])
def test_too_little_memory_is_refused_with_the_bytes(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_memory, "free_ram", lambda: 100_000_000)
    monkeypatch.setattr(score_memory, "ALWAYS", 0)
    draw = np.random.default_rng(1)
    further = {"source_means": draw.standard_normal((300, 4)), "source_counts": np.full(300, 30)}
    inputs = np.broadcast_to(draw.standard_normal((1, 1)), (50_000, 400))
    large = Probe.of(inputs, np.arange(50_000) % 1000, **further)
    with pytest.raises(ZooError, match=r"of a needs about [\d.,]+ GB of memory for 50,000 samples .* 0.1 GB are free"):
        score_memory.check_memory("a", [parse_metric(spec, None)], large)
    small = Probe.of(*features((3, 3), 5), **further)
    score_memory.check_memory("a", [parse_metric(spec, None)], small)


def test_large_targets_have_fewer_replicates(monkeypatch: pytest.MonkeyPatch) -> None:
    y = np.arange(40) % 4
    usual = uncertainty.draw_replicates(Classes.of(y), seed=0)
    assert (len(usual.half_samples.parts), len(usual.permutations)) == (64, 10)
    monkeypatch.setattr(uncertainty, "MANY", 39)
    fewer = uncertainty.draw_replicates(Classes.of(y), seed=0)
    assert (len(fewer.half_samples.parts), len(fewer.permutations)) == (16, 3)
    for (rows, _), (other, _) in zip(fewer.half_samples.parts, usual.half_samples.parts, strict=False):
        np.testing.assert_array_equal(rows, other)


def test_random_mix_in_parts_has_the_same_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(0).standard_normal(50)
    usual = uncertainty.jackknife_interval(0.5, scores, seed=3)
    monkeypatch.setattr(uncertainty, "KEPT_MIX", 0)
    parts = uncertainty.jackknife_interval(0.5, scores, seed=3)
    assert (parts.low, parts.high) == (usual.low, usual.high)
    assert usual.draws is not None
    assert parts.draws is not None
    np.testing.assert_allclose(parts.draws, usual.draws, rtol=1e-12)


@pytest.mark.parametrize("spec", ["lfc", "lfc:offdiag=true", "cka", "cka:debiased=true"])
def test_large_features_are_centred_in_blocks(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method, entry = specs.resolve("metric", spec), registry.METRICS[spec.partition(":")[0]]
    whole = probe("features", 12_000, 80, 5)
    replicates = uncertainty.draw_replicates(whole.target, seed=0, permutations=1)

    def estimate() -> uncertainty.Estimate:
        (estimate,) = uncertainty.estimate_scores(
            [(method, entry)], replace(whole, matrix=Matrix(whole.inputs)), seed=0, replicates=replicates
        )
        assert isinstance(estimate, uncertainty.Estimate)
        return estimate

    usual = estimate()
    monkeypatch.setattr(matrix, "STREAMED", 1 << 19)
    assert peak(lambda: method.function(replace(whole, matrix=Matrix(whole.inputs)), **method.params)) < 3 * MB
    streamed = estimate()
    for name in ("value", "low", "high", "chance"):
        assert getattr(streamed, name) == pytest.approx(getattr(usual, name), rel=1e-9)


def test_large_features_are_refused_only_where_they_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_memory, "free_ram", lambda: 100_000_000)
    large = Probe.of(np.broadcast_to(np.float32(1), (20_000, 400)), np.arange(20_000) % 5)
    for limit, specs_of_metrics in ((matrix.STREAMED, ["lfc", "logme"]), (1 << 19, ["logme"])):
        monkeypatch.setattr(matrix, "STREAMED", limit)
        for spec in specs_of_metrics:
            with pytest.raises(ZooError, match="of memory"):
                score_memory.check_memory("a", [parse_metric(spec, None)], large)
    score_memory.check_memory("a", [parse_metric("lfc", None)], large)
