"""A card that runs out of memory or is lost, in every phase: exit 1, one line, and the same command goes on.

What is finished is kept, and the files end as those of an unbroken run.
"""

import itertools
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from ..pipeline.test_bytes import contents
from ..pipeline.test_objectives_resume import COMMANDS, LENGTH
from ..pipeline.transfer_workspace import ok, on_step, stopped
from ..workspaces import Result, run, unseal
from .planted_faults import ERRORS, LINES, ON_CARD, Fault, Phase, out_of_memory
from .pretended_card import pretend_card
from .test_commands import train


@pytest.fixture(scope="module")
def unbroken(workspace: Path) -> Callable[[str], dict[str, str]]:
    """The files of the uninterrupted run of a command on a card."""
    digests: dict[str, dict[str, str]] = {}

    def run_once(name: str) -> dict[str, str]:
        if name not in digests:
            with pretend_card():
                train(name, workspace, *ON_CARD)
            digests[name] = contents(workspace / "runs" / "mine")
        shutil.rmtree(workspace / "runs", ignore_errors=True)
        return digests[name]

    return run_once


def go_on(name: str, workspace: Path, expected: dict[str, str]) -> Result:
    """The same command on a card that works ends as the unbroken run."""
    with pretend_card():
        result = ok(*COMMANDS[name], *LENGTH, *ON_CARD, workspace=workspace)
    assert contents(workspace / "runs" / "mine") == expected
    return result


PHASES: dict[str, tuple[str, Phase]] = {
    "student to the card": ("cross-task", ("training/loop.py", "train")),
    "teacher to the card": ("kl", ("pipeline/teachers.py", "build")),
    "copy of the student to the card": ("dp", ("pipeline/transfer_runs.py", "build_objective")),
    "cache": ("supervised", ("images/pixel_cache.py", "_fill")),
    "targets to the card": ("cross-task", ("training/stored_rows.py", "__init__")),
    "stored answers": ("stored", ("pipeline/teachers.py", "compute_logits")),
    "batch": ("supervised", ("training/batches.py", "batch")),
    "step": ("mcl", ("training/loop.py", "step")),
    "checkpoint": ("supervised", ("training/loop.py", "state")),
    "log row": ("supervised", ("training/loop.py", "row")),
    "statistics": ("soup", ("training/runner.py", "recalibrate_student")),
    "predictions": ("supervised", ("training/students.py", "write_student")),
    "views of the answers": ("stored", ("training/image_cache.py", "evaluation_views")),
    "order of the teachers": ("sequential", ("pipeline/teachers.py", "order_by_accuracy")),
}
QUICK = (("batch", "full"), ("cache", "cudnn"), ("predictions", "lost"))
TRIAL = 4
"""No fewer launches than --device takes to try a card."""
HALVED = ("stored answers", "predictions", "views of the answers", "order of the teachers")
"""Phases of forward passes alone: their batches are halved, until a single image does not fit."""


@pytest.mark.parametrize(
    ("phase", "kind"),
    [
        pytest.param(phase, kind, marks=[] if (phase, kind) in QUICK else pytest.mark.slow)
        for phase, kind in itertools.product(PHASES, ERRORS)
    ],
)
def test_failing_card_ends_a_run_that_goes_on(
    workspace: Path, unbroken: Callable[[str], dict[str, str]], phase: str, kind: str
) -> None:
    name, where = PHASES[phase]
    expected = unbroken(name)
    with pretend_card() as card:
        fault = Fault(card, ERRORS[kind], where, lasts=phase in HALVED)
        result = run(*COMMANDS[name], *LENGTH, *ON_CARD, workspace=workspace)
    assert fault.raised
    assert result.code == 1
    assert LINES[kind] in result.error or (phase in HALVED and "runs out of GPU memory" in result.error)
    go_on(name, workspace, expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "phase"),
    [
        ("sweep", ("training/inference.py", "predict_cached")),
        ("supervised", ("training/inference.py", "predict_batch")),
        ("stored", ("pipeline/teachers.py", "_answer")),
        ("sequential", ("training/inference.py", "predict_batch")),
    ],
    ids=["cached", "rows", "teacher", "order"],
)
def test_predictions_that_run_out_are_halved(
    workspace: Path, unbroken: Callable[[str], dict[str, str]], name: str, phase: Phase
) -> None:
    expected = unbroken(name)
    with pretend_card() as card:
        fault = Fault(card, out_of_memory, phase)
        result = ok(*COMMANDS[name], *LENGTH, *ON_CARD, workspace=workspace)
    assert fault.raised == 1
    assert result.err.count("continues with batches of") == 1
    assert contents(workspace / "runs" / "mine").keys() == expected.keys()


@pytest.mark.parametrize("kind", ["lost", *(pytest.param(k, marks=pytest.mark.slow) for k in ("full", "cudnn"))])
def test_failure_between_checkpoints_keeps_the_last(
    workspace: Path, unbroken: Callable[[str], dict[str, str]], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    expected = unbroken("supervised")
    with pretend_card() as card, monkeypatch.context() as patch:
        on_step(6, partial(Fault, card, ERRORS[kind]), patch)
        result = run(*COMMANDS["supervised"], *LENGTH, *ON_CARD, workspace=workspace)
    assert result.code == 1
    assert LINES[kind] in result.error
    assert "step 4 of 9" in go_on("supervised", workspace, expected).err


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "lost"])
@pytest.mark.parametrize("name", COMMANDS)
def test_failure_at_any_launch_is_no_bug(
    workspace: Path, unbroken: Callable[[str], dict[str, str]], name: str, kind: str
) -> None:
    """At six launches of the command, from the first after the trial of --device to its last."""
    expected = unbroken(name)
    with pretend_card() as card:
        whole = Fault(card, out_of_memory, at=0)
        train(name, workspace, *ON_CARD)
    for share in range(6):
        shutil.rmtree(workspace / "runs")
        with pretend_card() as card:
            Fault(card, ERRORS[kind], at=TRIAL + 1 + share * (whole.launches - TRIAL - 1) // 5)
            result = run(*COMMANDS[name], *LENGTH, *ON_CARD, workspace=workspace)
        if kind == "full" and result.code == 0:  # a forward pass alone, which was halved, or a step, taken again
            assert "continues with batches of" in result.err or "move to RAM" in result.err
            continue
        assert result.code == 1
        assert LINES[kind] in result.error
        go_on(name, workspace, expected)


@pytest.mark.parametrize("devices", [("cpu", "cuda"), pytest.param(("cuda", "cpu"), marks=pytest.mark.slow)])
def test_run_goes_on_on_another_device(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, devices: tuple[str, str]
) -> None:
    """Its dropout is then drawn from the seed and the step: the same each time."""
    flags = (*COMMANDS["supervised"], *LENGTH)
    first, then = devices
    results, students = [], []
    for _ in range(2):
        shutil.rmtree(workspace / "runs", ignore_errors=True)
        with pretend_card():
            assert stopped(5, *flags, "--device", first, workspace=workspace, monkeypatch=monkeypatch).code == 143
            results.append(ok(*flags, "--device", then, workspace=workspace))
        students.append((workspace / "runs/mine/model.safetensors").read_bytes())
    assert students[0] == students[1]
    assert "step 5 of 9" in results[0].err
    warnings = [line for line in results[0].err.splitlines() if line.startswith("zoo: warning: ")]
    assert len(warnings) == 1
    assert f"was started with device {first}, not {then}; card " in warnings[0]
    assert "its bits will differ" in warnings[0]


def test_run_record_holds_the_card(workspace: Path, unbroken: Callable[[str], dict[str, str]]) -> None:
    unbroken("supervised")
    with pretend_card() as card:
        Fault(card, out_of_memory, ("training/students.py", "write_student"), lasts=True)
        assert run(*COMMANDS["supervised"], *LENGTH, *ON_CARD, workspace=workspace).code == 1
    file = workspace / "runs/mine/run.json"
    record = unseal(file)
    assert (record["device"], record["card"]["name"]) == ("cuda", "Pretended card")
    assert {"name", "cuda", "cudnn"} == set(record["card"])
    record["card"]["name"] = "Another card"
    file.write_text(json.dumps({**record, "threads": 99}))
    with pretend_card():
        result = ok(*COMMANDS["supervised"], *LENGTH, *ON_CARD, workspace=workspace)
    assert result.err.count("zoo: warning: ") == 1
    assert "was started with card name Another card, cuda " in result.err
    assert "threads" not in result.err


def test_checkpoint_of_a_run_that_was_taken_over_is_not_written(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that writes checkpoints on a card sees the lease, too."""
    mine = workspace / "runs" / "mine"
    shutil.rmtree(workspace / "runs", ignore_errors=True)

    def take_over() -> None:
        (mine / ".lease-2").write_text("of another process")

    with pretend_card():
        on_step(2, take_over, monkeypatch)
        result = run(*COMMANDS["supervised"], *LENGTH, "--device", "cuda", workspace=workspace)
    assert result.code == 1
    assert "another process has taken this run over" in result.error
    assert not (mine / "state").exists()
    shutil.rmtree(workspace / "runs")
