"""What must hold for every metric of the table, and for its variants."""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from zoo_cli import registry, specs
from zoo_cli.errors import ContractError, Undefined
from zoo_cli.metrics.plain_metrics import accept_probe
from zoo_cli.metrics.probe import Probe
from zoo_cli.metrics.subsamples import Subsamples, score_or_nan
from zoo_cli.ranking import uncertainty
from zoo_cli.ranking.replicate_scores import Scorer, score_subsamples

from .probes import features, further, one_hot, probabilities
from .probes import score as scored

Array = NDArray[Any]
Score = Callable[[Array, Array], float]

VARIANTS = (
    "parc:normalized=true",
    "parc:cosine=true",
    "parc:pca=6",
    "parc:pca=6,cosine=true",
    "cka:debiased=true",
    "lfc:offdiag=true",
    "lgc:outputs=sum",
    "hscore:shrunk=true",
    "knn:k=1",
    "knn:k=3,distance=cosine",
    "transrate:form=paper",
    "gbc:form=diagonal",
    "gbc:pca=0",
    "gbc:log=true",
    "sparsity:hoyer=0.5",
    "domain-similarity:min_images=10",
)
SPECS = (*registry.METRICS, *VARIANTS)

# Reads neither inputs nor labels.
BLIND = {"random"}
# Read no labels, or only those of the reference: a single class is no problem.
LABEL_FREE = {"rsa-ref", "sparsity", "sparsity:hoyer=0.5"}
# Inputs that match the labels are no better: domain-similarity measures the distance to the source's classes.
NO_AGREEMENT = {*LABEL_FREE, "domain-similarity", "domain-similarity:min_images=10"}
# Probabilities have a fixed scale: rows must sum to 1. The class means of the source are not scaled here. The others
# have a constant on the scale of the features: an eps (logme), a distortion (transrate's code), a minimum variance
# (gbc), an exponent (sfda).
NOT_SCALED = {
    *("leep", "nce", "ms-leep", "e-leep", "logme", "transrate", "sfda"),
    *(s for s in SPECS if s.startswith(("gbc", "domain-similarity"))),
}
# Correlations, which stay in [-1, 1].
CORRELATIONS = {s for s in SPECS if s.partition(":")[0] in ("parc", "rsa", "rsa-ref", "cka", "lfc", "lgc")}
# Undefined without a pair of one class: they compare such pairs, or the spread within a class (sfda). The others are
# defined, because a sample belongs to its own class (cka, lfc, lgc), is likelier under its own label (leep), or is not
# predicted by the others (knn, ridge).
NEED_A_SAME_CLASS_PAIR = {
    *(s for s in SPECS if s.partition(":")[0] in ("parc", "rsa", "sfda")),
    "cka:debiased=true",
    "lfc:offdiag=true",
}
# The difference of two log determinants, which varies strongly under permuted labels on so few samples.
NOISY = {"transrate", "transrate:form=paper"}


def metric(spec: str) -> tuple[Score, str]:
    """The score function of a metric, and the representation that it reads by default."""
    return partial(scored, spec), registry.METRICS[spec.partition(":")[0]].on[0]


def probe(on: str, sizes: tuple[int, ...] = (9, 7, 5, 3), width: int = 12, seed: int = 0) -> tuple[Array, Array]:
    """Inputs and labels for one representation."""
    x, y = features(sizes, width, seed=seed)
    return (probabilities(y, width, seed=seed) if on == "probs" else x), y


def every(*, without: Collection[str] = ()) -> pytest.MarkDecorator:
    """One test for each metric and variant, except those in `without`."""
    return pytest.mark.parametrize("spec", [spec for spec in SPECS if spec not in without])


def test_only_lgc_reads_neither_features_nor_probs() -> None:
    read = {name: {*entry.on} - {"features", "probs"} for name, entry in registry.METRICS.items()}
    assert {name: on for name, on in read.items() if on} == {"lgc": {"gradients"}}


@every()
def test_score_is_a_finite_python_float(spec: str) -> None:
    score, _ = metric(spec)
    for on in registry.METRICS[spec.partition(":")[0]].on:
        value = score(*probe(on))
        assert type(value) is float
        assert np.isfinite(value)


@every()
@pytest.mark.parametrize("seed", range(5))
def test_order_of_samples_does_not_matter(spec: str, seed: int) -> None:
    score, on = metric(spec)
    x, y = probe(on)
    order = np.random.default_rng(seed).permutation(len(y))
    assert score(x[order], y[order]) == pytest.approx(score(x, y), abs=1e-9)


@every()
def test_class_numbers_do_not_matter(spec: str) -> None:
    score, on = metric(spec)
    x, y = probe(on)
    names = np.array([7, -3, 10**12, 0])
    assert score(x, names[y]) == pytest.approx(score(x, y), abs=1e-9)
    assert score(x, (2 * y).astype(np.uint8)) == pytest.approx(score(x, y), abs=1e-9)


@every(without=NOT_SCALED)
@pytest.mark.parametrize("factor", [1e-6, 0.3, 1e6])
def test_positive_scale_does_not_matter(spec: str, factor: float) -> None:
    score, on = metric(spec)
    x, y = probe(on)
    wide = x.astype(np.float64)
    assert score(factor * wide, y) == pytest.approx(score(wide, y), abs=1e-9)


@every()
def test_storage_precision_does_not_matter(spec: str) -> None:
    score, on = metric(spec)
    x, y = probe(on)
    if on == "probs":  # multiples of 1/256, which float16 holds, with rows that sum to 1
        draw = np.random.default_rng(0)
        x = (draw.multinomial(256, x.astype(np.float64) / x.sum(axis=1, keepdims=True, dtype=np.float64)) / 256).astype(
            np.float32
        )
    else:
        x = x.astype(np.float16).astype(np.float32)
    for kind in (np.float16, np.float64):
        assert score(x.astype(kind), y) == pytest.approx(score(x, y), abs=1e-12)


@every()
def test_memory_layout_does_not_matter_and_arrays_stay(spec: str) -> None:
    score, on = metric(spec)
    x, y = probe(on)
    before = x.copy(), y.copy()
    x.setflags(write=False)
    y.setflags(write=False)
    value = score(x, y)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(y, before[1])
    assert score(np.asfortranarray(x), y) == pytest.approx(value, abs=1e-12)
    assert score(np.repeat(x, 2, axis=0)[::2], np.repeat(y, 2)[::2]) == pytest.approx(value, abs=1e-12)


@every()
@pytest.mark.parametrize("width", [2, 12, 200])
def test_any_width_has_a_score(spec: str, width: int) -> None:
    score, on = metric(spec)
    assert np.isfinite(score(*probe(on, width=width)))


@every()
def test_degenerate_probes_have_a_score(spec: str) -> None:
    score, on = metric(spec)
    x, y = probe(on, sizes=(9, 7, 5, 1, 1))
    x[3:6] = x[0]
    if on == "features":
        x[:, 2] = 0.0
        x[:, 5] = 0.1
    value = score(x, y)
    assert np.isfinite(value)
    if spec in CORRELATIONS:
        assert abs(value) <= 1


@every(without=set(SPECS) - CORRELATIONS)
@pytest.mark.parametrize("seed", range(3))
def test_correlation_stays_between_minus_one_and_one(spec: str, seed: int) -> None:
    score, on = metric(spec)
    x, y = probe(on, seed=seed)
    for values in (x, -x, x + 1e3, one_hot(y), 1 - one_hot(y)):
        assert abs(score(values, y)) <= 1 + 1e-12


@every(without={*BLIND, *LABEL_FREE})
def test_impossible_probes_are_undefined_with_reason(spec: str) -> None:
    score, on = metric(spec)
    x, y = probe(on)
    with pytest.raises(Undefined) as caught:
        score(x[:2], np.array([0, 1]))
    assert caught.value.reason == "too_few_examples"
    with pytest.raises(Undefined) as caught:
        score(x, np.full_like(y, 4))
    assert caught.value.reason == "single_class"
    with pytest.raises(Undefined) as caught:
        score(np.repeat(x[:1], len(y), axis=0), y)
    assert caught.value.reason == "constant_features"


@every()
def test_singleton_classes_are_undefined_for_pair_metrics(spec: str) -> None:
    score, on = metric(spec)
    x, _ = probe(on)
    if spec in NEED_A_SAME_CLASS_PAIR:
        with pytest.raises(Undefined) as caught:
            score(x, np.arange(len(x)))
        assert caught.value.reason == "no_same_class_pair"
    else:
        assert np.isfinite(score(x, np.arange(len(x))))


@every()
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_value_is_an_error_with_its_position(spec: str, value: float) -> None:
    score, on = metric(spec)
    x, y = probe(on)
    x[7, 3] = value
    with pytest.raises(ContractError, match=r"row 7, column 3"):
        score(x, y)


@every()
def test_mismatched_arrays_are_an_error(spec: str) -> None:
    score, on = metric(spec)
    x, y = probe(on)
    for inputs, labels in ((x, y[:-1]), (x[0], y), (x, y[:, None]), (x, y.astype(np.float64)), (x.astype(str), y)):
        with pytest.raises(ContractError):
            score(inputs, labels)


@every(without={*BLIND, *NO_AGREEMENT})
def test_one_hot_labels_beat_shuffled_ones(spec: str) -> None:
    score, _ = metric(spec)
    _, y = probe("features", sizes=(9, 8, 7, 6, 5, 4, 3))
    shuffled = np.random.default_rng(0).permutation(y)
    draw = np.random.default_rng(1)
    # Not exactly one-hot: parc on fewer components than classes would have ties.
    x = one_hot(y) + 0.001 * draw.random((len(y), 7))
    x /= x.sum(axis=1, keepdims=True)
    assert score(x, y) > score(x, shuffled) + 0.2


@every(without={*BLIND, *NO_AGREEMENT})
def test_shuffled_labels_score_near_chance(spec: str) -> None:
    score, on = metric(spec)
    x, y = probe(on, sizes=(15, 15, 15, 15), width=8)
    method = specs.resolve("metric", spec)
    whole = Probe.of(x, y, **further(registry.METRICS[method.name].needs, x))
    replicates = uncertainty.draw_replicates(whole.target, seed=0, permutations=40)
    function = partial(accept_probe(method.function), **method.params)
    (chance,) = uncertainty.chance_levels([function], whole, replicates)
    draw = np.random.default_rng(5)
    shuffled = [score(x, draw.permutation(y)) for _ in range(40)]
    assert chance is not None
    assert np.mean(shuffled) == pytest.approx(chance, abs=5 * np.std(shuffled) / np.sqrt(20))
    assert score(x, y) > chance + (3 if spec in NOISY else 5) * np.std(shuffled)


@pytest.mark.parametrize("row", [[0.5, 0.4, 0.05], [1.2, -0.2, 0.0], [3.0, 2.0, -4.0]])
def test_leep_rejects_rows_that_are_not_probabilities(row: list[float]) -> None:
    score, _ = metric("leep")
    x, y = probe("probs", width=3)
    x[4] = row
    with pytest.raises(ContractError, match="row 4 "):
        score(x, y)


def test_debiased_cka_is_undefined_with_reason() -> None:
    score, _ = metric("cka:debiased=true")
    x, y = probe("features", sizes=(8, 1))
    with pytest.raises(Undefined, match="degenerate_labels"):
        score(x, y)
    with pytest.raises(Undefined, match="too_few_examples"):
        score(x[:3], np.array([0, 0, 1]))
    with pytest.raises(Undefined, match="constant_features"):
        score(np.eye(8), np.repeat([0, 1], 4))


def test_features_of_width_one_are_undefined() -> None:
    x, y = probe("features", width=1)
    for spec in ("parc", "rsa"):
        with pytest.raises(Undefined, match="constant_features"):
            metric(spec)[0](x, y)


PARTS = {
    "wide": ((9, 7, 5, 3), 12),
    "tall": ((60, 40, 20, 1), 6),
    "square": ((30,) * 6, 40),
    "far from zero": ((30,) * 6, 40),
    "repeated rows": ((12, 9, 9), 30),
}


@every(without={"nleep"})  # which fits mixtures for seconds, and shares nothing
@pytest.mark.parametrize("shape", PARTS)
def test_parts_scored_together_are_parts_scored_alone(spec: str, shape: str) -> None:
    """Sharing is a matter of speed: each part has the score of its own samples, or none."""
    method = specs.resolve("metric", spec)
    entry = registry.METRICS[method.name]
    x, y = probe(entry.on[0], *PARTS[shape], seed=4)
    if shape == "far from zero" and entry.on[0] != "probs":
        x = x + np.float32(50)
    if shape == "repeated rows":
        x[10:20] = x[3]
    whole = Probe.of(x, y, **further(entry.needs, x))
    replicates = uncertainty.draw_replicates(whole.target, seed=1)
    function = partial(accept_probe(method.function), **method.params)
    for parts in (replicates.half_samples.parts[:12], replicates.four_fifth_samples.parts[:4]):
        (together,) = score_subsamples([Scorer.of(method, entry)], whole, Subsamples(parts, 1.0))
        alone = [score_or_nan(function, whole.take(*part)) for part in parts]
        np.testing.assert_allclose(together, alone, rtol=1e-9, atol=1e-9)
