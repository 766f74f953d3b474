"""What several processes share: batches, batch norms, values and waits; a process on its own shares nothing."""

import os
from pathlib import Path

import pytest
import torch

from tests.ranks import run_ranks
from tests.rehearsal.pretended_card import pretend_card
from tests.workspaces import run
from zoo_cli import collectives, devices, free_memory, ranks
from zoo_cli.command_table import COMMANDS, OF_SEVERAL_PROCESSES
from zoo_cli.config import Preprocessing
from zoo_cli.errors import UsageError
from zoo_cli.images.pixel_cache import PixelCache
from zoo_cli.objectives.masked_mean import masked_mean
from zoo_cli.ranks import Job
from zoo_cli.training.batches import draw_indices

TORCHRUN = {
    "RANK": "1",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "1",
}
ARGUMENTS = {
    "completion": ("bash",),
    "evaluate flips": ("a", "b"),
    "evaluate ranking": ("a", "b"),
    "evaluate transfer": ("a", "b"),
    "init": ("--train", "folder:a"),
    "export": ("a",),
    "expert": ("--data", "folder:a", "--model", "student", "--out", "a"),
    "predict": ("a", "--data", "b"),
    "show": ("a",),
}
"""What a command needs to be parsed."""


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Job:
    """A job of two processes of which this is the second; it has not met the other."""
    second = Job(rank=1, world_size=2, local_rank=1, local_world_size=2)
    monkeypatch.setattr(ranks, "_job", second)
    return second


def test_batch_norm_is_that_of_the_whole_batch(tmp_path: Path) -> None:
    check = "from tests.training import batch_norm_check\nbatch_norm_check.compare()\nos.environ.clear()\n"
    for result in run_ranks("--version", workspace=tmp_path, place=tmp_path / "out", before=check):
        assert result.code == 0, result.err


def test_gradients_values_and_copies_of_a_job(tmp_path: Path) -> None:
    check = """
import torch
from zoo_cli import collectives, ranks
from zoo_cli.objectives.masked_mean import masked_mean
ranks.start(os.environ)
collectives.connect(torch.device("cpu"))
rank = ranks.rank()
collectives.BUCKET_BYTES = 8
numbers = [torch.nn.Parameter(torch.ones(shape)) for shape in ((2, 3), (), (5,))]
frozen = torch.nn.Parameter(torch.ones(2), requires_grad=False)
for number in numbers:
    number.grad = torch.full(number.shape, rank + 1.0)
numbers[0].grad = numbers[0].grad.t().contiguous().t()
collectives.average_gradients([*numbers, frozen])
assert all((number.grad == 1.5).all() for number in numbers)
assert frozen.grad is None
assert collectives.greatest([3, -1][rank]) == 3
assert ranks.gather(["a", {"b": 1}][rank]) == ["a", {"b": 1}]
assert ranks.first_does(lambda: [ranks.world_size(), rank]) == [1, 0]
mixed = [torch.full((2, 2), rank + 1.0), torch.tensor(rank + 7), torch.full((3,), rank, dtype=torch.float64)]
collectives.copy_from_first(mixed)
assert [tensor.sum().item() for tensor in mixed] == [4, 7, 0]
values = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
masks = torch.tensor([[True, False, False], [True, True, True]])
assert collectives.mean(masked_mean(values[rank], masks[rank])) == values[masks].mean()
assert collectives.mean(masked_mean(values[rank], masks[rank] & False)) == 0
ranks.leave(0)
os.environ.clear()
"""
    for result in run_ranks("--version", workspace=tmp_path, place=tmp_path / "out", before=check):
        assert result.code == 0, result.err


@pytest.mark.parametrize("step", [0, 3, 8])
def test_shares_of_a_step_are_its_batch(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    whole = torch.stack(draw_indices(5, "labelled", 7, step, 6))
    shares = []
    for rank in range(3):
        monkeypatch.setattr(ranks, "_job", Job(rank, 3))
        shares.append(torch.stack(draw_indices(5, "labelled", 7, step, 6)))
    assert torch.equal(torch.cat(shares, 1), whole)


def test_parts_are_dealt_out_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {number: str(number) for number in (4, 1, 3, 0, 2)}
    dealt = []
    for rank in range(2):
        monkeypatch.setattr(ranks, "_job", Job(rank, 2))
        dealt.append(list(ranks.own_parts(parts)))
    assert dealt == [[0, 2, 4], [1, 3]]


def test_a_process_on_its_own_gets_back_what_it_gives() -> None:
    values = torch.tensor([1.0, 2.0])
    assert collectives.mean(values) is values
    assert ranks.gather("a") == ["a"]
    assert ranks.first_does(lambda: 3) == ranks.in_turn(lambda: 3) == 3
    assert masked_mean(values, values > 1) == 2
    assert masked_mean(values, values > 2) == 0


@pytest.mark.usefixtures("job")
def test_variables_of_torchrun() -> None:
    ranks.start(TORCHRUN)
    assert (ranks.rank(), ranks.world_size(), ranks.local_rank(), ranks.local_world_size()) == (1, 4, 1, 2)
    ranks.start({"WORLD_SIZE": "1", "RANK": "0"})
    assert (ranks.rank(), ranks.world_size()) == (0, 1)


@pytest.mark.parametrize("name", sorted({*TORCHRUN} - {"WORLD_SIZE"}))
def test_missing_variables_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=rf"WORLD_SIZE is 4, but {name} is not set; start it with torchrun"):
        ranks.start({key: value for key, value in TORCHRUN.items() if key != name})


def test_memory_and_cores_are_divided(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    assert devices.workers(None) == max(1, (os.cpu_count() or 1) // 2)
    assert devices.workers(7) == 7
    monkeypatch.setattr(free_memory, "free_ram", lambda: 1000)
    places = []
    for processes in (2, 1):
        job.local_world_size = processes
        pixels = PixelCache([], Preprocessing(10, (0.5,), (0.5,), channels=1), "cpu", 0, place="stream")
        places.append(pixels._ram_budget())
    assert places == [250, 500]


@pytest.mark.parametrize("command", sorted({*COMMANDS} - {*OF_SEVERAL_PROCESSES}))
def test_other_commands_refuse_several_processes(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for rank in ("0", "1"):
        for name, value in {**TORCHRUN, "RANK": rank, "LOCAL_RANK": rank}.items():
            monkeypatch.setenv(name, value)
        result = run(*command.split(), *ARGUMENTS.get(command, ()))
        assert result.code == 2
        if rank == "0":
            assert result.error == f"zoo {command} cannot use 4 processes; start it without torchrun"
        else:
            assert result.out + result.err == ""
    assert ranks.world_size() == 1


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["score", "--help"]])
def test_help_and_version_come_from_one_process(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**TORCHRUN, "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    result = run(*arguments)
    assert result.code == 0
    assert result.out
    monkeypatch.setenv("RANK", "1")
    silent = run(*arguments)
    assert (silent.code, silent.out, silent.err) == (0, "", "")


def test_each_process_has_a_card_of_its_own(job: Job) -> None:
    with pretend_card(cards=2):
        assert devices.choose("cuda", purpose="training") == torch.device("cuda:1")
        assert devices.choose("auto", purpose="training") == torch.device("cuda:1")
        assert devices.choose("cpu", purpose="training") == torch.device("cpu")
        with pytest.raises(UsageError, match="--device cuda:0 is one card for 2 processes; --device cuda gives each"):
            devices.choose("cuda:0", purpose="training")
    with pretend_card(cards=1), pytest.raises(UsageError, match="2 processes need 2 CUDA devices, here are 1"):
        devices.choose("cuda", purpose="training")
    job.local_world_size = 1
    with pretend_card(cards=1):
        assert devices.choose("cuda", purpose="training").type == "cuda"
