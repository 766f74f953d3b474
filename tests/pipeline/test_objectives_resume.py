"""A run stopped in any phase of any objective, and run again, is bit-equal to an uninterrupted one."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.marks import slow, slow_unless
from zoo_cli import registry, specs
from zoo_cli.store import files
from zoo_cli.training import students
from zoo_cli.training.loop import State
from zoo_cli.training.run_folder import RunFolder

from ..workspaces import run
from . import head_answers
from .test_bytes import contents
from .transfer_workspace import QUICK, make, model, ok, on_step, stopped, term, until_done

STEPS = 9
LENGTH = ("--steps", str(STEPS), "--batch-size", "8", "--checkpoint-every", "4", "--workers", "0", "--name", "mine")
TEACHER = ("--student", "normed", "--source", "expert")
BOTH = (*TEACHER, "--source", "noisy")
SOURCES = ("--source", "alpha", "--source", "beta", "--student", "normed")
COMMANDS = {
    "cross-task": ("distill", "--weighting", "equal", *SOURCES),
    "heads": ("distill", "--objective", "heads", *SOURCES),
    "heads:cross_task=0.5": ("distill", "--objective", "heads:cross_task=0.5", "--weighting", "equal", *SOURCES),
    "supervised": ("finetune", "normed"),
    "fixmatch": ("finetune", "normed", "--objective", "fixmatch", "--threshold", "0.4"),
    "kl": ("distill", "--objective", "kl", *TEACHER),
    "xe-kl": ("distill", "--objective", "xe-kl", *TEACHER),
    "mcl": ("distill", "--objective", "mcl:steps_per_update=3", *TEACHER),
    "mcl:reset": ("distill", "--objective", "mcl:reset=true", *TEACHER),
    "dp": ("distill", "--objective", "dp", *TEACHER),
    "dp:labels=false": ("distill", "--objective", "dp:labels=false", *TEACHER),
    "stored": ("distill", "--objective", "kl", *TEACHER, "--targets", "stored"),
    "parallel": ("distill", "--objective", "dp", *BOTH, "--teachers", "parallel"),
    "sequential": ("distill", "--objective", "mcl", *BOTH),
    "soup": ("distill", "--objective", "xe-kl", *BOTH, "--teachers", "soup", "--recalibrate"),
    "sweep": ("finetune", "normed", "--lr", "0.1,0.01", "--recalibrate"),
}
PHASES = {"sequential": 2, "soup": 2, "sweep": 3}
"""The number of students that a command trains, unless it is one."""
SOME = ("supervised", "mcl", "sequential", "soup", "sweep")
"""One command of each kind, for tests that do not depend on the objective."""
ALIKE = {"heads:cross_task=0.5", "kl", "stored", "dp:labels=false", "parallel"}
"""Commands whose state is that of another one: their resumes are slow tests."""


class Unbroken(dict[str, dict[str, str]]):
    """The files of the uninterrupted run of each command that a test asks for."""

    def __init__(self, workspace: Path):
        super().__init__()
        self.workspace = workspace

    def __missing__(self, name: str) -> dict[str, str]:
        shutil.rmtree(self.workspace / "runs", ignore_errors=True)
        ok(*COMMANDS[name], *LENGTH, workspace=self.workspace)
        self[name] = contents(self.workspace / "runs" / "mine")
        return self[name]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with head_answers.workspace_with_answers(tmp_path_factory.mktemp("resume") / "task") as place:
        yield place


@pytest.fixture(scope="module")
def unbroken(workspace: Path) -> Unbroken:
    other = workspace.with_name("unbroken")
    shutil.copytree(workspace, other, ignore=shutil.ignore_patterns("runs"))
    return Unbroken(other)


@pytest.fixture
def mine(workspace: Path) -> Path:
    """The folder of the run, which does not exist yet."""
    shutil.rmtree(workspace / "runs", ignore_errors=True)
    return workspace / "runs" / "mine"


def test_commands_cover_every_objective() -> None:
    named = {command[command.index("--objective") + 1] for command in COMMANDS.values() if "--objective" in command}
    assert {specs.split_spec(name)[0] for name in named} | {"cross-task", "supervised"} == set(registry.OBJECTIVES)


@pytest.mark.parametrize("name", slow_unless(COMMANDS, COMMANDS.keys() - ALIKE))
def test_resume_after_many_terms_is_bit_equal(
    workspace: Path, mine: Path, monkeypatch: pytest.MonkeyPatch, unbroken: Unbroken, name: str
) -> None:
    stops = until_done(*COMMANDS[name], *LENGTH, workspace=workspace, monkeypatch=monkeypatch, seed=len(name))
    assert stops >= 2 * PHASES.get(name, 1)
    assert contents(mine) == unbroken[name]


@pytest.mark.parametrize("step", [4, 5, *slow(3, 6)])
def test_resume_between_slow_weight_updates_is_bit_equal(
    workspace: Path, mine: Path, monkeypatch: pytest.MonkeyPatch, unbroken: Unbroken, step: int
) -> None:
    command = (*COMMANDS["mcl"], *LENGTH)
    assert stopped(step, *command, workspace=workspace, monkeypatch=monkeypatch).code == 143
    assert files.read_json(mine / "state" / "state.json")["step"] == step
    ok(*command, workspace=workspace)
    assert contents(mine) == unbroken["mcl"]


@pytest.mark.parametrize("name", slow_unless(SOME, ("supervised", "soup")))
def test_resume_after_term_at_last_checkpoint_is_bit_equal(
    workspace: Path, mine: Path, monkeypatch: pytest.MonkeyPatch, unbroken: Unbroken, name: str
) -> None:
    save = RunFolder.save

    def then_term(self: RunFolder, state: State) -> None:
        save(self, state)
        if state.step == STEPS:
            term()

    command = (*COMMANDS[name], *LENGTH)
    for _ in range(PHASES.get(name, 1)):
        with monkeypatch.context() as patch:
            patch.setattr(RunFolder, "save", then_term)
            result = run(*command, workspace=workspace)
        assert result.code in (0, 143), result.err
    ok(*command, workspace=workspace)
    assert contents(mine) == unbroken[name]


@pytest.mark.parametrize("name", slow_unless(SOME, ("mcl", "sweep")))
def test_resume_after_term_before_writing_is_bit_equal(
    workspace: Path, mine: Path, monkeypatch: pytest.MonkeyPatch, unbroken: Unbroken, name: str
) -> None:
    finish, stopped_in = students.write_student, set()

    def term_first(now: RunFolder, *arguments: object) -> None:
        if now.path not in stopped_in:
            stopped_in.add(now.path)
            term()
        finish(now, *arguments)

    monkeypatch.setattr(students, "write_student", term_first)
    count = PHASES.get(name, 1) + (name == "soup")
    for _ in range(count):
        assert run(*COMMANDS[name], *LENGTH, workspace=workspace).code == 143
        assert not (mine / "predictions.parquet").exists()
    ok(*COMMANDS[name], *LENGTH, workspace=workspace)
    assert len(stopped_in) == count
    assert contents(mine) == unbroken[name]


@pytest.mark.parametrize("name", slow_unless(SOME, ("supervised", "sequential")))
def test_max_time_exits_75_and_repeats_no_step(workspace: Path, mine: Path, name: str) -> None:
    short = ("--steps", "3", "--batch-size", "8", "--workers", "0")
    ok(*COMMANDS[name], *short, "--name", "whole", workspace=workspace)
    codes = []
    while not codes or codes[-1] == 75:
        codes.append(run(*COMMANDS[name], *short, "--name", "mine", "--max-time", "0.001s", workspace=workspace).code)
        assert len(codes) < 20
    assert codes == [75] * (2 * PHASES.get(name, 1)) + [0]
    assert model(mine) == model(mine.with_name("whole"))


def test_killed_sequence_keeps_finished_phases(
    workspace: Path, mine: Path, monkeypatch: pytest.MonkeyPatch, unbroken: Unbroken
) -> None:
    def die() -> None:
        raise AssertionError("killed")

    command = (*COMMANDS["sequential"], *LENGTH)
    with monkeypatch.context() as patch:
        on_step(STEPS + 1, die, patch)
        assert run(*command, workspace=workspace).code == 70
    first = mine / "teachers" / "1-noisy"
    assert (first / "run.json").exists()
    before = (first / "model.safetensors").stat().st_mtime_ns
    result = ok(*command, workspace=workspace)
    assert f"{first} is up to date" in result.err
    assert (first / "model.safetensors").stat().st_mtime_ns == before
    assert contents(mine) == unbroken["sequential"]


@pytest.mark.parametrize("name", slow_unless(PHASES, ("soup",)))
def test_stopped_phases_refuse_other_options(
    workspace: Path, mine: Path, monkeypatch: pytest.MonkeyPatch, unbroken: Unbroken, name: str
) -> None:
    wrong = (*COMMANDS[name], *LENGTH, "--momentum", "0.5")
    assert stopped(2, *wrong, workspace=workspace, monkeypatch=monkeypatch).code == 143
    result = run(*COMMANDS[name], *LENGTH, workspace=workspace)
    assert result.code == 2
    assert "momentum (0.5 there, 0.9 requested)" in result.error
    ok(*COMMANDS[name], *LENGTH, "--overwrite", workspace=workspace)
    assert contents(mine) == unbroken[name]


def test_term_in_one_of_several_runs_keeps_earlier_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, broken = make(tmp_path / "whole"), make(tmp_path / "broken")
    command = ("distill", "--source", "alpha", "--source", "beta", "--seed", "0", "--seed", "1", "--weighting", "p=1")
    command = (*command, "--weighting", "equal", *QUICK)
    ok(*command, workspace=whole)
    assert stopped(12, *command, workspace=broken, monkeypatch=monkeypatch).code == 143
    result = ok(*command, workspace=broken)
    assert result.err.count("is up to date") == 2
    assert contents(broken / "runs") == contents(whole / "runs")
