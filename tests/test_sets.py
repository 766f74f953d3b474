"""Sets of sources: their scores, and how one grows until the next source adds less than its error."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from zoo_cli.errors import Undefined
from zoo_cli.metrics import e_leep, ms_leep
from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.leep import leep, predictions
from zoo_cli.metrics.probe import Probe
from zoo_cli.ranking import ensembles, uncertainty

Array = NDArray[Any]

LABELS = np.arange(120) % 4
TARGET = Classes.of(LABELS)
DRAWN = uncertainty.draw_replicates(TARGET, seed=0, permutations=0)


def expert(knows: Sequence[int], width: int, seed: int) -> Probe:
    """A source that knows some of the classes, and of the others nothing."""
    draw = np.random.default_rng(seed)
    logits = 0.3 * draw.standard_normal((len(LABELS), width))
    sure = np.isin(LABELS, knows)
    logits[sure, LABELS[sure] % width] += 3
    raised = np.exp(logits)
    return Probe.of(raised / raised.sum(axis=1, keepdims=True), TARGET)


def interval(gain: float, gains: Array) -> tuple[float | None, float | None]:
    found = uncertainty.half_sample_interval(gain, gains, DRAWN.share, seed=0)
    return found.low, found.high


def grown(
    joined: ensembles.Joined = e_leep.joined, **probes: Probe
) -> tuple[list[ensembles.Step], ensembles.Step | None]:
    parts = {name: ensembles.member_part(predictions, probe, DRAWN.halves) for name, probe in probes.items()}
    return ensembles.grow_ensemble(parts, joined, interval)


def test_a_set_of_one_has_its_leep() -> None:
    one = expert([0, 1], 5, 0)
    for of_one, of_set in ((e_leep.e_leep, e_leep.of_set), (ms_leep.ms_leep, ms_leep.of_set)):
        assert of_one(one) == pytest.approx(leep(one), abs=1e-12)
        assert of_set([one]) == pytest.approx(leep(one), abs=1e-12)


def test_scores_of_sets_equal_their_formulas_for_sources_of_different_widths() -> None:
    probes = [expert([0], 5, 0), expert([1, 2], 9, 1), expert([3], 4, 2)]
    rows = np.array([[_expected(probe, i) for i in range(len(LABELS))] for probe in probes])
    assert e_leep.of_set(probes) == pytest.approx(np.log(rows.mean(axis=0)).mean(), abs=1e-12)
    assert ms_leep.of_set(probes) == pytest.approx(np.log(rows).mean(), abs=1e-12)


def _expected(probe: Probe, i: int) -> float:
    """sum_z P(y_i | z) p_iz, counted out."""
    mates = probe.inputs[LABELS[i] == LABELS].sum(axis=0)
    return float((mates / probe.inputs.sum(axis=0)) @ probe.inputs[i])


def test_sources_that_know_different_classes_go_together_and_a_twin_stays_outside() -> None:
    steps, stopped = grown(
        first=expert([0, 1], 5, 0), twin=expert([0, 1], 5, 1), other=expert([2, 3], 6, 2), idle=expert([], 5, 3)
    )
    assert {steps[0].source, steps[1].source} in ({"first", "other"}, {"twin", "other"})
    assert steps[0].gain is None
    assert steps[1].gain is not None
    assert steps[1].gain == pytest.approx(steps[1].score - steps[0].score)
    assert steps[1].low is not None
    assert steps[1].low > 0
    assert stopped is not None
    assert "idle" not in [step.source for step in steps]


def test_it_stops_where_the_gain_is_less_than_its_uncertainty() -> None:
    _, stopped = grown(first=expert([0, 1, 2, 3], 6, 0), idle=expert([], 5, 3))
    assert stopped is not None
    assert stopped.source == "idle"
    assert stopped.low is not None
    assert stopped.low <= 0


def test_a_mean_grows_by_nobody() -> None:
    probes = {"a": expert([0, 1], 5, 0), "b": expert([2, 3], 5, 1), "c": expert([1, 2, 3], 6, 2)}
    steps, stopped = grown(ms_leep.joined, **probes)
    assert [step.source for step in steps] == ["c"]
    assert stopped is not None
    assert stopped.gain is not None
    assert stopped.gain < 0


def test_the_interval_of_a_gain_is_of_paired_halves() -> None:
    probes = [expert([0, 1], 5, 0), expert([2, 3], 6, 2)]
    steps, _ = grown(a=probes[0], b=probes[1])
    gains = []
    for rows, target in DRAWN.halves:
        halved = [probe.take(rows, target) for probe in probes]
        gains.append(e_leep.of_set(halved) - e_leep.of_set(halved[:1] if steps[0].source == "a" else halved[1:]))
    assert steps[1].gain is not None
    assert (steps[1].low, steps[1].high) == interval(steps[1].gain, np.array(gains))


def test_one_source_is_a_set_and_nobody_is_none() -> None:
    steps, stopped = grown(only=expert([0], 5, 0))
    assert [step.source for step in steps] == ["only"]
    assert stopped is None
    assert ensembles.grow_ensemble({}, e_leep.joined, interval) == ([], None)


def test_equal_sources_are_taken_in_their_order() -> None:
    one = expert([0, 1], 5, 0)
    assert grown(b=one, a=one)[0][0].source == "b"


def test_halves_without_a_part_take_no_part_in_the_interval() -> None:
    calls = iter(range(1000))

    def sometimes(probe: Probe) -> Array:
        if probe.size < len(LABELS) and next(calls) % 2:
            raise Undefined("single_class")
        return predictions(probe)

    part = ensembles.member_part(sometimes, expert([2, 3], 6, 2), DRAWN.halves)
    assert sum(half is None for half in part.halves) == len(DRAWN.halves) // 2
    whole = ensembles.member_part(predictions, expert([0, 1], 5, 0), DRAWN.halves)
    steps, _ = ensembles.grow_ensemble({"a": whole, "b": part}, e_leep.joined, interval)
    assert len(steps) == 2
    never = ensembles.MemberPart(part.whole, (None,) * len(part.halves))
    steps, stopped = ensembles.grow_ensemble({"a": whole, "b": never}, e_leep.joined, interval)
    assert len(steps) == 1
    assert stopped is not None
    assert stopped.low is None
