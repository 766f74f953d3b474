"""How a training command computes: precision, determinism, graphs, and the memory order of a CPU."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from zoo_cli.store import files
from zoo_cli.training import loop, step_time
from zoo_cli.training.step_time import choose_layout, may_gain

from ..workspaces import run
from .test_objectives_resume import COMMANDS, LENGTH
from .transfer_workspace import make, model, ok, stopped

SUPERVISED = (*COMMANDS["supervised"], *LENGTH, "--device", "cpu")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("arithmetic") / "task")


@pytest.fixture
def workspace(place: Path) -> Path:
    shutil.rmtree(place / "runs", ignore_errors=True)
    return place


def load_record(workspace: Path) -> dict[str, Any]:
    record: dict[str, Any] = files.read_json(workspace / "runs" / "mine" / "run.json")
    return record


@pytest.mark.parametrize("device", ["cpu", "auto"])
@pytest.mark.parametrize("flags", [("--precision", "tf32"), ("--compile", "graph")])
def test_what_needs_a_card_is_refused_without_one(workspace, monkeypatch, device, flags):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = run(*COMMANDS["supervised"], *LENGTH, *flags, "--device", device, workspace=workspace)
    assert result.code == 2
    assert result.error == f"{' '.join(flags)} needs a CUDA device; drop it, or set --device cuda"
    assert not (workspace / "runs").exists()


def test_extract_in_tf32_is_refused_before_anything_is_removed(workspace):
    stored = sorted((workspace / "features").rglob("*"))
    result = run("extract", "--overwrite", "--precision", "tf32", "--device", "cpu", workspace=workspace)
    assert (result.code, result.error) == (2, "--precision tf32 needs a CUDA device; use fp32, or --device cuda")
    assert sorted((workspace / "features").rglob("*")) == stored


def test_deterministic_is_recorded_but_no_identity(workspace, monkeypatch):
    enabled = []
    train = loop.train

    def watch(*args: Any, **options: Any) -> Any:
        enabled.append(torch.are_deterministic_algorithms_enabled())
        return train(*args, **options)

    monkeypatch.setattr(loop, "train", watch)
    assert stopped(5, *SUPERVISED, "--deterministic", workspace=workspace, monkeypatch=monkeypatch).code == 143
    assert load_record(workspace)["deterministic"] is True
    assert "deterministic" not in load_record(workspace)["options"]
    result = ok(*SUPERVISED, workspace=workspace)
    assert "was started with deterministic True, not False" in result.err
    assert enabled == [True, False]
    assert not torch.are_deterministic_algorithms_enabled()


def test_operation_without_deterministic_form_keeps_the_checkpoint(workspace, monkeypatch):
    step = loop.Trainer.step

    def refuse(trainer: loop.Trainer, number: int, batch: Any) -> None:
        if number == 6:
            raise RuntimeError(
                "fold_cuda does not have a deterministic implementation, but you set "
                "'torch.use_deterministic_algorithms(True)'."
            )
        step(trainer, number, batch)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "step", refuse)
        result = run(*SUPERVISED, "--deterministic", workspace=workspace)
    assert result.code == 1
    assert result.error.startswith("fold_cuda has no deterministic form on cpu; leave out --deterministic")
    assert files.read_json(workspace / "runs" / "mine" / "state" / "state.json")["step"] == 4
    ok(*SUPERVISED, "--deterministic", workspace=workspace)


def test_layout_is_searched_only_where_it_may_pay():
    cpu, size, steps = torch.device("cpu"), step_time.LEAST_PIXELS, step_time.LEAST_STEPS
    assert may_gain(size, steps, cpu)
    assert not may_gain(size - 1, steps, cpu)
    assert not may_gain(size, steps - 1, cpu)
    assert not may_gain(size, steps, torch.device("cuda"))
    assert [choose_layout({False: x, True: 1.0}) for x in (0.9, 1.1, 1.2)] == [False, False, True]
    assert [choose_layout({layout: 1.0}) for layout in (False, True)] == [False, True]


@pytest.mark.parametrize("faster", [False, True])
def test_layout_is_recorded_and_taken_by_a_resumed_run(workspace, monkeypatch, faster):
    layouts: list[bool] = []
    train, time_steps = loop.train, step_time.time_steps

    def watch(*args: Any, **options: Any) -> Any:
        layouts.append(options["channels_last"])
        return train(*args, **options)

    def time_both(*args: Any) -> dict[bool, float]:
        seconds = time_steps(*args)
        assert seconds.keys() == ({False, True} if len(layouts) == 0 else {faster})
        return {layout: 1.0 + (layout != faster) for layout in seconds}

    monkeypatch.setattr(loop, "train", watch)
    monkeypatch.setattr(step_time, "time_steps", time_both)
    monkeypatch.setattr(step_time, "LEAST_STEPS", 9)
    monkeypatch.setattr(step_time, "LEAST_PIXELS", 12)
    assert stopped(5, *SUPERVISED, workspace=workspace, monkeypatch=monkeypatch).code == 143
    assert load_record(workspace)["memory_format"] == ("channels_last" if faster else "contiguous")
    ok(*SUPERVISED, workspace=workspace)
    assert layouts == [faster, faster]
    resumed = model(workspace / "runs" / "mine")
    shutil.rmtree(workspace / "runs")
    layouts.clear()
    ok(*SUPERVISED, workspace=workspace)
    assert model(workspace / "runs" / "mine") == resumed


def test_small_runs_have_plain_memory(workspace):
    ok(*SUPERVISED, workspace=workspace)
    assert load_record(workspace)["memory_format"] == "contiguous"
