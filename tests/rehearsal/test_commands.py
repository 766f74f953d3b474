"""Every training command on a pretended card ends with the CPU's weights, in fp32 and bf16, on one card and on two."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from ..pipeline.test_objectives_resume import COMMANDS, LENGTH
from ..pipeline.transfer_workspace import make, ok, stopped
from ..workspaces import Result, run
from .pretended_card import pretend_card

QUICK = ("cross-task", "supervised", "mcl")
"""The commands of the default run; the others are slow."""
SLOW = [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in COMMANDS]
TOLERANCE = 1e-5


def train(name: str, workspace: Path, *flags: str) -> dict[str, torch.Tensor]:
    """The weights after a command, run from nothing."""
    shutil.rmtree(workspace / "runs", ignore_errors=True)
    ok(*COMMANDS[name], *LENGTH, *flags, workspace=workspace)
    return load_file(workspace / "runs" / "mine" / "model.safetensors")


def largest_difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    assert a.keys() == b.keys()
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in a)


@pytest.mark.parametrize("name", SLOW)
def test_training_on_a_card_gives_the_cpus_weights(workspace: Path, name: str) -> None:
    expected = train(name, workspace, "--device", "cpu")
    with pretend_card():
        trained = train(name, workspace, "--device", "cuda")
    assert largest_difference(trained, expected) <= TOLERANCE


@pytest.mark.parametrize(
    "name",
    [pytest.param("cross-task"), *(pytest.param(n, marks=pytest.mark.slow) for n in COMMANDS if n != "cross-task")],
)
def test_training_in_bf16_on_the_second_card_gives_the_cpus_weights(workspace: Path, name: str) -> None:
    expected = train(name, workspace, "--device", "cpu", "--precision", "bf16")
    with pretend_card(cards=2) as card:
        trained = train(name, workspace, "--device", "cuda:1", "--precision", "bf16")
        assert card.peak[0] == 0 < card.peak[1]
    # bfloat16 has 8 bits, and what the two devices cast differs: the tolerance is that of single products.
    assert largest_difference(trained, expected) <= 5e-3


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("mcl"),
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("cross-task", "fixmatch", "sequential", "soup", "sweep")),
    ],
)
def test_resume_on_a_card_gives_the_weights_of_an_unbroken_run(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with pretend_card():
        expected = train(name, workspace, "--device", "cuda")
        shutil.rmtree(workspace / "runs")
        flags = (*LENGTH, "--device", "cuda")
        assert stopped(5, *COMMANDS[name], *flags, workspace=workspace, monkeypatch=monkeypatch).code == 143
        ok(*COMMANDS[name], *flags, workspace=workspace)
    trained = load_file(workspace / "runs" / "mine" / "model.safetensors")
    assert largest_difference(trained, expected) == 0


EVALUATED = (
    ("extract", "--overwrite", "--gradients"),
    ("distill", "--lam", "1", "--steps", "3", "--batch-size", "8", "--name", "a", "--student", "normed"),
    ("evaluate", "accuracy", "a"),
    ("evaluate", "flips", "normed", "a"),
    ("evaluate", "flips", "--all", "expert", "mirror"),
    ("evaluate", "transfer", "normed", "a", "--teacher", "expert"),
    ("predict", "a", "--data", "folder:images", "--out", "predicted.parquet"),
)


@pytest.mark.parametrize(
    ("precision", "device"),
    [
        ("fp32", "cuda"),
        *(
            pytest.param(precision, device, marks=pytest.mark.slow)
            for precision, device in (("bf16", "cuda"), ("fp32", "cuda:1"), ("bf16", "cuda:1"))
        ),
    ],
)
def test_stages_on_a_card_write_the_cpus_numbers(tmp_path: Path, precision: str, device: str) -> None:
    on_card, on_cpu = make(tmp_path / "card"), make(tmp_path / "cpu")
    for command in EVALUATED:
        flags = ("--precision", precision) if command[0] in ("extract", "distill") else ()
        expected = run_command(*command, *flags, "--device", "cpu", workspace=on_cpu)
        with pretend_card(cards=2):
            result = run_command(*command, *flags, "--device", device, workspace=on_card)
        assert result.code == expected.code == 0, (command, result.err, expected.err)
    numbers, expected_numbers = read_numbers(on_card), read_numbers(on_cpu)
    assert numbers.keys() == expected_numbers.keys()
    assert any("gradient" in column for _, column in numbers)
    tolerance = TOLERANCE if precision == "fp32" else 5e-2
    for key, values in numbers.items():
        np.testing.assert_allclose(values, expected_numbers[key], rtol=tolerance, atol=tolerance, err_msg=str(key))


def run_command(*arguments: str, workspace: Path) -> Result:
    """Run a command; paths in it are inside the workspace."""
    inside = {
        "folder:images": f"folder:{workspace / 'images'}",
        "predicted.parquet": str(workspace / "predicted.parquet"),
    }
    return run(*(inside.get(argument, argument) for argument in arguments), workspace=workspace)


def read_numbers(workspace: Path) -> dict[tuple[str, str], np.ndarray]:
    """The vectors of every file of a workspace, by file and column."""
    numbers = {}
    for path in sorted(workspace.rglob("*.parquet")):
        table = pq.read_table(path)
        for name in ("embedding", "logits", "gradient", "gradient_sum", "probs"):
            if name in table.column_names:
                values = [x for x in table.column(name).to_pylist() if x is not None]
                numbers[str(path.relative_to(workspace)), name] = np.array(values, dtype=np.float64)
    return numbers
