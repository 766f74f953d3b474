"""Ensembles of sources: their scores, and growth until the next source adds less than its uncertainty."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax

from zoo_cli.errors import Undefined
from zoo_cli.metrics import e_leep, ms_leep
from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.leep import leep, predictions
from zoo_cli.metrics.probe import Probe
from zoo_cli.ranking import ensembles, uncertainty

Array = NDArray[Any]

LABELS = np.arange(120) % 4
TARGET = Classes.of(LABELS)
HALF_SAMPLES = uncertainty.draw_replicates(TARGET, seed=0, permutations=0).half_samples


def make_source(recognises: Sequence[int], width: int, seed: int) -> Probe:
    """A source that recognises some of the classes, and none of the others."""
    draw = np.random.default_rng(seed)
    logits = 0.3 * draw.standard_normal((len(LABELS), width))
    sure = np.isin(LABELS, recognises)
    logits[sure, LABELS[sure] % width] += 3
    return Probe.of(softmax(logits, axis=1), TARGET)


def interval(gain: float, gains: Array) -> tuple[float | None, float | None]:
    estimate = uncertainty.half_sample_interval(gain, gains, HALF_SAMPLES.share, seed=0)
    return estimate.low, estimate.high


def score_ensemble(joined: ensembles.Joined, probes: Sequence[Probe]) -> float:
    return joined(np.stack([predictions(probe) for probe in probes]))


def grow(
    joined: ensembles.Joined = e_leep.joined, **probes: Probe
) -> tuple[list[ensembles.Step], ensembles.Step | None]:
    parts = {name: ensembles.member_part(predictions, probe, HALF_SAMPLES.parts) for name, probe in probes.items()}
    return ensembles.grow_ensemble(parts, joined, interval)


def test_ensemble_of_one_has_its_leep() -> None:
    source = make_source([0, 1], 5, 0)
    for metric, joined in ((e_leep.e_leep, e_leep.joined), (ms_leep.ms_leep, ms_leep.joined)):
        assert metric(source) == pytest.approx(leep(source), abs=1e-12)
        assert score_ensemble(joined, [source]) == pytest.approx(leep(source), abs=1e-12)


def test_scores_equal_their_formulas() -> None:
    probes = [make_source([0], 5, 0), make_source([1, 2], 9, 1), make_source([3], 4, 2)]
    rows = np.array([[_expected(probe, i) for i in range(len(LABELS))] for probe in probes])
    assert score_ensemble(e_leep.joined, probes) == pytest.approx(np.log(rows.mean(axis=0)).mean(), abs=1e-12)
    assert score_ensemble(ms_leep.joined, probes) == pytest.approx(np.log(rows).mean(), abs=1e-12)


def _expected(probe: Probe, i: int) -> float:
    """sum_z P(y_i | z) p_iz, sample by sample."""
    mates = probe.inputs[LABELS[i] == LABELS].sum(axis=0)
    return float((mates / probe.inputs.sum(axis=0)) @ probe.inputs[i])


def test_complementary_sources_join_and_a_twin_does_not() -> None:
    steps, stopped = grow(
        first=make_source([0, 1], 5, 0),
        twin=make_source([0, 1], 5, 1),
        other=make_source([2, 3], 6, 2),
        idle=make_source([], 5, 3),
    )
    assert {steps[0].source, steps[1].source} in ({"first", "other"}, {"twin", "other"})
    assert steps[0].gain is None
    assert steps[1].gain is not None
    assert steps[1].gain == pytest.approx(steps[1].score - steps[0].score)
    assert steps[1].low is not None
    assert steps[1].low > 0
    assert stopped is not None
    assert "idle" not in [step.source for step in steps]


def test_growth_stops_at_an_uncertain_gain() -> None:
    _, stopped = grow(first=make_source([0, 1, 2, 3], 6, 0), idle=make_source([], 5, 3))
    assert stopped is not None
    assert stopped.source == "idle"
    assert stopped.low is not None
    assert stopped.low <= 0


def test_mean_of_scores_never_grows() -> None:
    probes = {"a": make_source([0, 1], 5, 0), "b": make_source([2, 3], 5, 1), "c": make_source([1, 2, 3], 6, 2)}
    steps, stopped = grow(ms_leep.joined, **probes)
    assert [step.source for step in steps] == ["c"]
    assert stopped is not None
    assert stopped.gain is not None
    assert stopped.gain < 0


def test_interval_of_a_gain_is_from_paired_half_samples() -> None:
    probes = [make_source([0, 1], 5, 0), make_source([2, 3], 6, 2)]
    steps, _ = grow(a=probes[0], b=probes[1])
    gains = []
    for rows, target in HALF_SAMPLES.parts:
        halved = [probe.take(rows, target) for probe in probes]
        first = halved[:1] if steps[0].source == "a" else halved[1:]
        gains.append(score_ensemble(e_leep.joined, halved) - score_ensemble(e_leep.joined, first))
    assert steps[1].gain is not None
    assert (steps[1].low, steps[1].high) == interval(steps[1].gain, np.array(gains))


def test_single_source_is_an_ensemble_and_none_is_empty() -> None:
    steps, stopped = grow(only=make_source([0], 5, 0))
    assert [step.source for step in steps] == ["only"]
    assert stopped is None
    assert ensembles.grow_ensemble({}, e_leep.joined, interval) == ([], None)


def test_equal_sources_are_taken_in_their_order() -> None:
    source = make_source([0, 1], 5, 0)
    assert grow(b=source, a=source)[0][0].source == "b"


def test_half_samples_without_a_part_are_ignored() -> None:
    calls = iter(range(1000))

    def sometimes(probe: Probe) -> Array:
        if probe.size < len(LABELS) and next(calls) % 2:
            raise Undefined("single_class")
        return predictions(probe)

    part = ensembles.member_part(sometimes, make_source([2, 3], 6, 2), HALF_SAMPLES.parts)
    assert sum(half is None for half in part.half_samples) == len(HALF_SAMPLES.parts) // 2
    whole = ensembles.member_part(predictions, make_source([0, 1], 5, 0), HALF_SAMPLES.parts)
    steps, _ = ensembles.grow_ensemble({"a": whole, "b": part}, e_leep.joined, interval)
    assert len(steps) == 2
    never = ensembles.MemberPart(part.whole, (None,) * len(part.half_samples))
    steps, stopped = ensembles.grow_ensemble({"a": whole, "b": never}, e_leep.joined, interval)
    assert len(steps) == 1
    assert stopped is not None
    assert stopped.low is None
