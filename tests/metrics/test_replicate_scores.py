"""Scores of many subsamples, or under many permutations, at once are those of one by one."""

from functools import partial

import numpy as np
import pytest

from zoo_cli import registry, specs
from zoo_cli.metrics import hscore, rsa, transrate
from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.plain_metrics import accept_probe
from zoo_cli.metrics.probe import Probe
from zoo_cli.metrics.subsamples import Subsamples, score_or_nan
from zoo_cli.ranking import uncertainty
from zoo_cli.ranking.replicate_scores import Scorer, score_permutations, score_subsamples

PARAMS = {
    "transrate": ("", ":form=paper"),
    "hscore": ("", ":shrunk=true"),
    "gbc": ("", ":pca=4", ":pca=4,log=true", ":form=diagonal,pca=4", ":pca=0"),
}
BATCHED = [
    name + params
    for name, entry in registry.METRICS.items()
    if entry.on_subsamples or entry.on_permutations
    for params in PARAMS.get(name, ("",))
]


def _features(kind: str, count: int, classes: int, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    width = {"wide": 70, "tall": 9}.get(kind, 20)
    labels = np.sort(draw.integers(0, classes, count))
    labels[:classes] = np.arange(classes)
    labels = draw.permutation(labels)
    means = draw.standard_normal((classes, width))
    return means[labels] + draw.standard_normal((count, width)), labels


def _probe(kind: str, on: tuple[str, ...]) -> Probe:
    draw = np.random.default_rng(3)
    inputs, labels = _features(kind, 46, 2 if kind == "two" else 7, draw)
    if kind == "repeated":
        inputs[20:] = inputs[:26]
    if kind == "far":
        inputs += 1e3
    if kind == "relu":
        inputs = np.maximum(inputs, 0)
        inputs[:, 3] = 0.5
    if kind == "single":
        labels = np.concatenate([np.arange(20), np.full(26, 20)])
    if on == ("probs",):
        raised = np.exp(inputs - inputs.max(axis=1, keepdims=True))
        inputs = (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)
    elif kind == "half":
        inputs = inputs.astype(np.float16)
    return Probe.of(inputs, labels, reference=draw.standard_normal((46, 5)))


KINDS = ("plain", "wide", "tall", "two", "repeated", "far", "relu", "single", "half")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spec", BATCHED)
def test_all_at_once_equals_one_by_one(spec: str, kind: str) -> None:
    method = specs.resolve("metric", spec)
    entry = registry.METRICS[method.name]
    probe = _probe(kind, entry.on)
    scorer = Scorer.of(method, entry)
    plain = partial(accept_probe(method.function), **method.params)
    replicates = uncertainty.draw_replicates(probe.target, seed=1, permutations=3)
    subsamples = replicates.subsamples_of(entry)
    subsamples = Subsamples(subsamples.parts[:5], subsamples.share)
    fresh = _probe(kind, entry.on)
    (one_by_one,) = score_subsamples([plain], fresh, subsamples)
    (at_once,) = score_subsamples([scorer], probe, subsamples)
    np.testing.assert_allclose(at_once, one_by_one, rtol=1e-9, atol=1e-9)
    (one_by_one,) = score_permutations([plain], fresh, replicates.permutations)
    (at_once,) = score_permutations([scorer], probe, replicates.permutations)
    np.testing.assert_allclose(at_once, one_by_one, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["leep", "nce"])
def test_scores_of_probabilities_are_those_of_probes_made_anew(name: str) -> None:
    method, entry = specs.resolve("metric", name), registry.METRICS[name]
    probe = _probe("plain", ("probs",))
    replicates = uncertainty.draw_replicates(probe.target, seed=1, permutations=3)
    scorer, inputs, codes = Scorer.of(method, entry), probe.inputs, probe.target.codes
    (halves,) = score_subsamples([scorer], probe, replicates.half_samples)
    anew = [method.function(Probe.of(inputs[rows], codes[rows])) for rows, _ in replicates.half_samples.parts]
    np.testing.assert_allclose(halves, anew, rtol=1e-12)
    (permuted,) = score_permutations([scorer], probe, replicates.permutations)
    anew = [method.function(Probe.of(inputs, target.codes)) for target in replicates.permutations]
    np.testing.assert_allclose(permuted, anew, rtol=1e-12)


@pytest.mark.parametrize("kind", ["plain", "repeated", "far"])
def test_hscore_of_many_subsamples_from_products_equals_one_by_one(kind: str) -> None:
    probe = _probe(kind, ("features",))
    subsamples = uncertainty.draw_replicates(probe.target, seed=1, permutations=1).four_fifth_samples
    assert hscore.whole_products(probe, subsamples) is not None
    one_by_one = [hscore.hscore(probe.take(*part)) for part in subsamples.parts]
    np.testing.assert_allclose(hscore.on_subsamples(probe, subsamples), one_by_one, rtol=1e-9)


@pytest.mark.parametrize("kind", ["constant in some", "one row varies little", "narrow"])
def test_rsa_standardises_what_the_sums_cannot(kind: str) -> None:
    draw = np.random.default_rng(0)
    inputs, labels = _features("plain", 46, 7, draw)
    if kind == "constant in some":  # columns that are zero but for a row or two
        inputs[:, 3:6] = 0.0
        inputs[7, 3], inputs[9, 4], inputs[[3, 30], 5] = 1.0, 1e6, 2.0
    if kind == "one row varies little":
        inputs[4] = inputs.mean(axis=0) + 1e-3 * inputs[4] + 30 * inputs.std(axis=0)
    if kind == "narrow":
        inputs = inputs[:, :2]
    probe = Probe.of(inputs, labels)
    subsamples = uncertainty.draw_replicates(probe.target, seed=1, permutations=1).half_samples
    one_by_one = [score_or_nan(rsa.rsa, probe.take(*part)) for part in subsamples.parts]
    np.testing.assert_allclose(rsa.on_subsamples(probe, subsamples), one_by_one, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("count", "width", "taken"), [(60, 20, True), (2000, 8, False)])
def test_transrate_takes_the_products_of_all_rows_only_where_they_save_time(
    count: int, width: int, taken: bool
) -> None:
    draw = np.random.default_rng(0)
    probe = Probe.of(draw.standard_normal((count, width)), np.arange(count) % 5)
    subsamples = uncertainty.draw_replicates(probe.target, seed=0, permutations=1).four_fifth_samples
    assert (transrate.on_subsamples(probe, subsamples) is not None) == taken


def test_a_batch_of_nothing_leaves_the_loop() -> None:
    probe = _probe("plain", ("features",))
    subsamples = uncertainty.draw_replicates(probe.target, seed=0).half_samples
    calls: list[int] = []

    def count(probe: Probe) -> float:
        calls.append(probe.size)
        return 1.0

    declining = Scorer(count, on_subsamples=lambda _, __: None)
    taking = Scorer(count, on_subsamples=lambda _, subsamples: np.zeros(len(subsamples)))
    table = score_subsamples([declining, taking], probe, subsamples)
    assert table.tolist() == [[1.0] * len(subsamples), [0.0] * len(subsamples)]
    assert calls == [len(rows) for rows, _ in subsamples.parts]


def test_progress_counts_every_score_of_a_batch() -> None:
    probe = _probe("plain", ("features",))
    steps: list[int] = []
    batch = Scorer(
        lambda _: 0.0,
        on_permutations=lambda _, targets: np.zeros(len(targets)),
        advance=steps.append,
    )
    targets: list[Classes] = [probe.target] * 4
    score_permutations([batch], probe, targets)
    assert sum(steps) == 4
