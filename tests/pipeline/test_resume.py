"""A run that is stopped and resumed ends with the bits of an uninterrupted one."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.processes import start
from zoo_cli.progress import Progress
from zoo_cli.store import files

from ..workspaces import Result, make, run, unseal
from .test_bytes import contents

STEPS = 24
STUDENT = ("--steps", str(STEPS), "--batch-size", "8", "--checkpoint-every", "7", "--weighting", "p=1")
LONG = ("--steps", "60", *STUDENT[2:])
NAME = "runs/cross-task-parc-p1-s0"


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return train(make(tmp_path_factory.mktemp("unbroken") / "task", upto="pseudo-label"), STUDENT)


def train(workspace: Path, student: tuple[str, ...]) -> dict[str, str]:
    """The files of an uninterrupted run."""
    result = run("distill", *student, workspace=workspace)
    assert result.code == 0, result.err
    return contents(workspace / NAME)


def stopped_at(
    step: int, signum: int, workspace: Path, monkeypatch: pytest.MonkeyPatch, student: tuple[str, ...] = STUDENT
) -> Result:
    """Run the command, with a signal that arrives in this step of the invocation."""
    counted = 0
    advance = Progress.advance

    def count(self: Progress, more: int) -> None:
        nonlocal counted
        advance(self, more)
        if self.title == "train" and more:
            counted += 1
            if counted == step:
                os.kill(os.getpid(), signum)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "advance", count)
        return run("distill", *student, workspace=workspace)


def test_resume_after_many_terms_is_bit_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbroken: dict[str, str]
) -> None:
    check_terms(tmp_path, monkeypatch, STUDENT, unbroken, 7)


@pytest.mark.slow
def test_resume_after_twenty_terms_is_bit_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unbroken = train(make(tmp_path / "unbroken", upto="pseudo-label"), LONG)
    check_terms(tmp_path, monkeypatch, LONG, unbroken, 20)


def check_terms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, student: tuple[str, ...], unbroken: dict[str, str], terms: int
) -> None:
    """Stop a run that many times after a few steps, then let it end."""
    workspace = make(tmp_path / "task", upto="pseudo-label")
    draw, done, stops = random.Random(3), 0, 0
    while stops < terms:
        result = stopped_at(draw.randint(1, 4), signal.SIGTERM, workspace, monkeypatch, student)
        if result.code == 0:
            break
        assert result.code == 143, result.err
        assert result.error == "stopped by SIGTERM; the same command goes on from here"
        stops += 1
        step = files.read_json(workspace / NAME / "state" / "state.json")["step"]
        assert step > done
        done = step
        assert not (workspace / NAME / "predictions.parquet").exists()
    assert stops == terms
    result = run("distill", *student, workspace=workspace)
    assert result.code == 0, result.err
    assert f"step {done} of {student[1]}" in result.err
    assert contents(workspace / NAME) == unbroken


@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP", "SIGUSR1"])
def test_signals_of_batch_systems_save_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbroken: dict[str, str], name: str
) -> None:
    workspace = make(tmp_path / "task", upto="pseudo-label")
    signum = getattr(signal, name)
    result = stopped_at(11, signum, workspace, monkeypatch)
    assert result.code == 128 + signum
    assert files.read_json(workspace / NAME / "state" / "state.json")["step"] == 11
    assert run("distill", *STUDENT, workspace=workspace).code == 0
    assert contents(workspace / NAME) == unbroken


SLOW_STEPS = """
import time
from zoo_cli.progress import Progress
_advance = Progress.advance
Progress.advance = lambda *arguments: (time.sleep(0.01), _advance(*arguments))[1]
"""


def test_resume_after_term_to_a_process_is_bit_equal(tmp_path: Path, unbroken: dict[str, str]) -> None:
    workspace = make(tmp_path / "task", upto="pseudo-label")
    process = start("distill", *STUDENT, workspace=workspace, before=SLOW_STEPS, place=tmp_path / "stopped")
    state = workspace / NAME / "state" / "state.json"
    process.until(state.exists)
    process.send(signal.SIGTERM)
    stopped = process.result()
    assert stopped.code == 143, stopped.err
    assert 7 <= json.loads(state.read_text())["step"] < STEPS
    assert start("distill", *STUDENT, workspace=workspace, place=tmp_path / "resumed").result().code == 0
    assert contents(workspace / NAME) == unbroken


@pytest.mark.slow
def test_resume_after_term_to_a_process_of_its_own_is_bit_equal(tmp_path: Path) -> None:
    steps = ("--steps", "400", "--batch-size", "8", "--checkpoint-every", "50", "--weighting", "p=1")
    whole, broken = (make(tmp_path / name, upto="pseudo-label") for name in ("whole", "broken"))
    command = [sys.executable, "-m", "zoo_cli", "distill", *steps, "-C"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(whole)], check=True, capture_output=True, env=environment, timeout=120)
    process = subprocess.Popen([*command, str(broken)], stderr=subprocess.PIPE, text=True, env=environment)
    state, deadline = broken / NAME / "state" / "state.json", time.monotonic() + 60
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert 50 <= json.loads(state.read_text())["step"] < 400
    subprocess.run([*command, str(broken)], check=True, capture_output=True, env=environment, timeout=120)
    assert contents(broken / NAME) == contents(whole / NAME)


def test_max_time_exits_75_and_resumes(tmp_path: Path, unbroken: dict[str, str]) -> None:
    workspace = make(tmp_path / "task", upto="pseudo-label")
    codes = []
    while not codes or codes[-1] == 75:
        codes.append(run("distill", *STUDENT, "--max-time", "0.001s", workspace=workspace).code)
    assert codes == [75] * (STEPS - 1) + [0]
    assert contents(workspace / NAME) == unbroken


def test_killed_run_resumes_from_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbroken: dict[str, str]
) -> None:
    workspace = make(tmp_path / "task", upto="pseudo-label")

    def die(*_arguments: object) -> None:
        raise AssertionError("killed")

    advance, counted = Progress.advance, []

    def count(self: Progress, more: int) -> None:
        advance(self, more)
        if self.title == "train" and more:
            counted.append(more)
            if len(counted) == 17:
                die()

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "advance", count)
        assert run("distill", *STUDENT, workspace=workspace).code == 70
    assert files.read_json(workspace / NAME / "state" / "state.json")["step"] == 14
    result = run("distill", *STUDENT, workspace=workspace)
    assert f"step 14 of {STEPS}" in result.err
    assert contents(workspace / NAME) == unbroken


def test_damaged_checkpoint_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = make(tmp_path / "task", upto="pseudo-label")
    assert stopped_at(9, signal.SIGTERM, workspace, monkeypatch).code == 143
    checkpoint = next((workspace / NAME / "state").glob("*.safetensors"))
    content = bytearray(checkpoint.read_bytes())
    content[-1] ^= 1
    checkpoint.write_bytes(content)
    result = run("distill", *STUDENT, workspace=workspace)
    assert (result.code, "is damaged; --overwrite" in result.error) == (3, True)


def test_other_number_of_threads_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = make(tmp_path / "task", upto="pseudo-label")
    assert stopped_at(3, signal.SIGTERM, workspace, monkeypatch).code == 143
    file = workspace / NAME / "run.json"
    record = unseal(file)
    file.write_text(json.dumps({**record, "threads": record["threads"] + 1}))
    result = run("distill", *STUDENT, workspace=workspace)
    assert result.code == 0
    assert f"was started with threads {record['threads'] + 1}, not {record['threads']}" in result.err


def test_non_finite_loss_names_its_step(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="pseudo-label")
    wild = ("--lr", "1e18", "--momentum", "0", "--warmup", "30", "--checkpoint-every", "1")
    result = run("distill", "--steps", "30", "--batch-size", "8", *wild, "--name", "wild", workspace=workspace)
    assert result.code == 1
    assert "not finite at step" in result.error
    assert "lower --lr" in result.error
    assert not (workspace / "runs/wild/predictions.parquet").exists()


def test_run_with_other_options_is_refused(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="pseudo-label")
    assert run("distill", *STUDENT, workspace=workspace).code == 0
    result = run("distill", *STUDENT, "--lr", "0.5", workspace=workspace)
    assert result.code == 2
    assert "lr (0.01 there, 0.5 requested)" in result.error
    assert run("distill", *STUDENT, "--lr", "0.5", "--overwrite", workspace=workspace).code == 0
