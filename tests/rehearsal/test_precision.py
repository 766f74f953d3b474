"""Precision and algorithms on a pretended card: what torch is told while a command computes, and what is recorded."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from zoo_cli.models.gradients import Gradients
from zoo_cli.store import files
from zoo_cli.training import inference, loop

from ..pipeline.test_objectives_resume import COMMANDS, LENGTH
from ..pipeline.transfer_workspace import make, ok
from ..workspaces import run
from .pretended_card import pretend_card


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("precision") / "task")


@pytest.fixture
def switches(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, set[tuple[bool, ...]]]]:
    """TF32 of products, TF32 of convolutions, and cuDNN's search, in steps, predictions and gradients."""
    seen: dict[str, set[tuple[bool, ...]]] = {}

    def watch(owner: Any, name: str) -> None:
        function = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
            seen.setdefault(name, set()).add((matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark))
            return function(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    watch(loop.Trainer, "step")
    watch(inference, "predict_batch")
    watch(Gradients, "_compute")
    yield seen
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.benchmark) == (False, False)


@pytest.mark.parametrize(
    ("name", "flags", "expected"),
    [
        ("supervised", (), (False, False, True)),
        ("sequential", ("--precision", "tf32"), (True, True, True)),
        ("supervised", ("--precision", "bf16", "--deterministic"), (False, False, False)),
    ],
)
def test_training_and_its_predictions_compute_in_one_precision(
    workspace: Path,
    switches: dict[str, set[tuple[bool, ...]]],
    name: str,
    flags: tuple[str, ...],
    expected: tuple[bool, ...],
) -> None:
    shutil.rmtree(workspace / "runs", ignore_errors=True)
    with pretend_card():
        ok(*COMMANDS[name], *LENGTH, "--device", "cuda", *flags, workspace=workspace)
    assert switches == {"step": {expected}, "predict_batch": {expected}}
    record = files.read_json(workspace / "runs" / "mine" / "run.json")
    assert record["options"]["precision"] == (flags[1] if flags else "fp32")
    assert record["memory_format"] == "channels_last"


def test_commands_without_a_precision_are_exact(
    workspace: Path, switches: dict[str, set[tuple[bool, ...]]], tmp_path: Path
) -> None:
    data = ("--data", f"folder:{workspace / 'images'}", "--out", str(tmp_path / "predicted.parquet"))
    with pretend_card():
        ok("predict", "expert", *data, "--device", "cuda", workspace=workspace)
        assert {values[:2] for values in switches.pop("predict_batch")} == {(False, False)}
        ok("evaluate", "accuracy", "expert", "--device", "cuda", workspace=workspace)
        assert {values[:2] for values in switches["predict_batch"]} == {(False, False)}


def test_gradients_have_the_precision_of_the_features(
    tmp_path: Path, switches: dict[str, set[tuple[bool, ...]]]
) -> None:
    place = make(tmp_path / "task")
    with pretend_card():
        for precision in ("fp32", "tf32", "bf16"):
            switches.clear()
            flags = ("--precision", precision, "--source", "alpha", "--device", "cuda")
            ok("extract", "--overwrite", "--gradients", *flags, workspace=place)
            assert {values[:2] for values in switches["_compute"]} == {(precision == "tf32",) * 2}
            assert files.read_json(place / "features/source=alpha/_source.json")["precision"] == precision
        ok("extract", "--overwrite", "--precision", "tf32", "--source", "alpha", "--device", "cuda", workspace=place)
    result = run("extract", "--gradients", "--source", "alpha", "--device", "cpu", workspace=place)
    assert (result.code, "precision (tf32 there, fp32 requested)" in result.error) == (2, True)
