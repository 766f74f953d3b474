"""A command in two processes makes what one process makes, and what one of them meets ends both."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from tests.faults.processes import ROOT, SMALL_PARTS
from tests.marks import slow
from tests.ranks import ON_STEP, run_ranks
from zoo_cli import config
from zoo_cli.store import files
from zoo_cli.store.failures import load_failures
from zoo_cli.store.manifest import load_manifest

from .. import workspaces
from ..workspaces import Result, run
from . import head_answers
from .test_bytes import contents
from .test_objectives_resume import COMMANDS, LENGTH
from .transfer_workspace import make, model, ok, stopped

MAKER = """
from tests.pipeline import head_answers
from zoo_cli.pipeline import prepare
prepare.MAKERS["head-labels"] = head_answers.MAKER
"""
LOST = "another process of the job has ended; the same command goes on from what is saved"
SOME = ("mcl", "fixmatch", "soup")
"""A loss over a part of the rows, one over three views, and several runs whose batch norms are averaged."""
DISTILL = (*COMMANDS["xe-kl"], *LENGTH)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Without dropout, the one thing that each process draws for itself."""
    with head_answers.workspace_with_answers(tmp_path_factory.mktemp("ranks") / "task") as place:
        text = (place / "normed.py").read_text(encoding="utf-8")
        assert "Dropout(0.3)" in text
        (place / "normed.py").write_text(text.replace("Dropout(0.3)", "Dropout(0.0)"), encoding="utf-8")
        yield place


@pytest.fixture
def mine(workspace: Path) -> Path:
    """The folder of the run, which does not exist yet."""
    shutil.rmtree(workspace / "runs", ignore_errors=True)
    return workspace / "runs" / "mine"


@pytest.fixture
def two(workspace: Path, tmp_path: Path) -> Callable[..., list[Result]]:
    """Runs a command in two processes."""
    numbers = count()

    def run_two(*arguments: str, workspace: Path = workspace, before: str = "", **options: object) -> list[Result]:
        place = tmp_path / f"out-{next(numbers)}"
        return run_ranks(*arguments, workspace=workspace, place=place, before=MAKER + before, **options)

    return run_two


def check_equal(shared: Path, single: Path, tolerance: float = 1e-5) -> None:
    """Every file of a run: weights, predictions and log within the tolerance, with the same keys in the same order."""
    names = {str(path.relative_to(single)) for path in single.rglob("*") if path.is_file()}
    assert {str(path.relative_to(shared)) for path in shared.rglob("*") if path.is_file()} == names
    for name in sorted(names):
        if name.endswith(".safetensors"):
            values, expected = (files.read_tensors(folder / name)[0] for folder in (shared, single))
            assert values.keys() == expected.keys()
            for key in expected.keys() - {"rng/cpu"}:
                np.testing.assert_allclose(values[key], expected[key], rtol=tolerance, atol=tolerance, err_msg=key)
        elif name.endswith(".jsonl"):
            for row, other in zip(*(files.read_lines(folder / name) for folder in (shared, single)), strict=True):
                assert list(row) == list(other)
                assert row == pytest.approx(other, rel=10 * tolerance, abs=10 * tolerance)


def both_ways(name: str, workspace: Path, mine: Path, two: Callable[..., list[Result]]) -> None:
    command = (*COMMANDS[name], *LENGTH)
    ok(*command, workspace=workspace)
    single = mine.rename(mine.with_name("single"))
    first, second = two(*command)
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert second.out + second.err == ""
    assert "mine" in first.out
    check_equal(mine, single)
    record = files.read_json(mine / "run.json")
    assert record.pop("processes") == 2
    assert record == files.read_json(single / "run.json")


@pytest.mark.parametrize("name", SOME)
def test_students_of_two_processes_are_those_of_one(
    name: str, workspace: Path, mine: Path, two: Callable[..., list[Result]]
) -> None:
    both_ways(name, workspace, mine, two)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*COMMANDS} - {*SOME}))
def test_all_students_of_two_processes_are_those_of_one(
    name: str, workspace: Path, mine: Path, two: Callable[..., list[Result]]
) -> None:
    both_ways(name, workspace, mine, two)


@pytest.mark.parametrize("rank", [1, *slow(0)])
def test_term_to_one_ends_both_and_one_goes_on(
    rank: int, workspace: Path, mine: Path, two: Callable[..., list[Result]]
) -> None:
    ok(*DISTILL, workspace=workspace)
    single = mine.rename(mine.with_name("single"))
    term = ON_STEP.format(step=6, signum=int(signal.SIGTERM))
    results = two(*DISTILL, only=[term * (rank == each) for each in range(2)])
    assert [result.code for result in results] == [143, 143]
    assert results[0].error == "stopped by SIGTERM; the same command goes on from here"
    assert results[1].err == ""
    assert files.read_json(mine / "state" / "state.json")["step"] == 6
    result = ok(*DISTILL, workspace=workspace)
    assert "was started with processes 2, not 1" in result.err
    check_equal(mine, single)


def test_one_starts_and_two_go_on(
    workspace: Path, mine: Path, two: Callable[..., list[Result]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ok(*DISTILL, workspace=workspace)
    single = mine.rename(mine.with_name("single"))
    assert stopped(5, *DISTILL, workspace=workspace, monkeypatch=monkeypatch).code == 143
    assert [result.code for result in two(*DISTILL)] == [0, 0]
    check_equal(mine, single)


def test_dropout_of_each_process_goes_on_where_it_stopped(tmp_path: Path, two: Callable[..., list[Result]]) -> None:
    place = make(tmp_path / "task")
    assert [result.code for result in two(*DISTILL, workspace=place)] == [0, 0]
    whole = (place / "runs" / "mine").rename(place / "runs" / "whole")
    term = ON_STEP.format(step=5, signum=int(signal.SIGTERM))
    assert [result.code for result in two(*DISTILL, workspace=place, only=[term])] == [143, 143]
    assert [result.code for result in two(*DISTILL, workspace=place)] == [0, 0]
    assert model(place / "runs" / "mine") == model(whole)


@pytest.mark.parametrize("rank", [0, 1])
def test_killed_process_ends_the_other(
    rank: int, workspace: Path, mine: Path, two: Callable[..., list[Result]]
) -> None:
    kill = ON_STEP.format(step=6, signum=int(signal.SIGKILL))
    results = two(*DISTILL, only=[kill * (rank == each) for each in range(2)])
    assert results[rank].code == -9
    other = results[1 - rank]
    assert other.code == 1
    assert other.error == ("" if rank else "rank 1: ") + LOST
    assert files.read_json(mine / "state" / "state.json")["step"] == 4
    ok(*DISTILL, workspace=workspace)


def test_time_limit_of_one_stops_both(mine: Path, two: Callable[..., list[Result]]) -> None:
    late = "from zoo_cli.training.training_config import ResolvedTraining\n"
    late += "ResolvedTraining.past_deadline = lambda _self: True\n"
    results = two(*DISTILL, only=["", late])
    assert [result.code for result in results] == [75, 75]
    assert results[0].error.startswith("the time limit is over at step 1;")
    assert files.read_json(mine / "state" / "state.json")["step"] == 1


def test_unequal_shares_are_refused(mine: Path, two: Callable[..., list[Result]]) -> None:
    results = two(*COMMANDS["cross-task"], "--batch-size", "10", "--name", "mine")
    assert [result.code for result in results] == [2, 2]
    expected = "--batch-size 10 cannot be divided equally among 2 processes; use a multiple of 4"
    assert results[0].error == expected
    assert results[1].err == ""
    assert not mine.exists()


@pytest.mark.usefixtures("mine")
def test_error_of_one_is_that_of_both(workspace: Path, two: Callable[..., list[Result]]) -> None:
    diverge = (*COMMANDS["supervised"], *LENGTH, "--lr", "1e30")
    results = two(*diverge)
    assert [result.code for result in results] == [1, 1]
    assert results[0].error == "the loss is not finite at step 2; lower --lr, or raise --warmup"
    assert results[1].err == ""
    assert run(*diverge, workspace=workspace).error == results[0].error


@pytest.mark.usefixtures("mine")
def test_error_of_another_process_names_it(two: Callable[..., list[Result]]) -> None:
    broken = "from zoo_cli.errors import ZooError\nfrom zoo_cli.training import batches\n"
    broken += "def _fail(*_arguments, **_options):\n    raise ZooError('no memory left')\n"
    broken += "batches.make_batch_fn = _fail\n"
    results = two(*DISTILL, only=["", broken])
    assert [result.code for result in results] == [1, 1]
    assert results[1].error == "rank 1: no memory left"
    assert results[0].error == LOST


def test_failed_preparation_ends_both(tmp_path: Path, two: Callable[..., list[Result]]) -> None:
    place = workspaces.make(tmp_path / "task")
    workspaces.edit(place, 'weights = "alpha.safetensors"', 'weights = "missing.safetensors"')
    first, second = two("distill", "--steps", "2", "--batch-size", "8", workspace=place)
    assert first.code == 2
    assert "missing.safetensors" in first.error
    assert (second.code, second.err) == (1, "")


def test_missing_inputs_are_made_once(tmp_path: Path, two: Callable[..., list[Result]]) -> None:
    alone, shared = workspaces.make(tmp_path / "alone"), workspaces.make(tmp_path / "shared")
    command = ("distill", "--steps", "4", "--batch-size", "8", "--workers", "0")
    ok(*command, workspace=alone)
    assert [result.code for result in two(*command, workspace=shared)] == [0, 0]
    expected, made = (
        {name: digest for name, digest in contents(place).items() if not name.startswith("runs")}
        for place in (alone, shared)
    )
    assert made == expected
    (run_folder,) = (path for path in (alone / "runs").iterdir() if path.is_dir())
    check_equal(shared / "runs" / run_folder.name, run_folder)


def test_extract_shares_parts_and_failures(tmp_path: Path, two: Callable[..., list[Result]]) -> None:
    alone, shared = (workspaces.make(tmp_path / name, upto="split") for name in ("alone", "shared"))
    manifest = load_manifest(alone / "manifest.parquet", alone)
    missing = [manifest.paths[row] for row in manifest.where(split=("unlabelled",))[::4]]
    for place in (alone, shared):
        for path in missing:
            (place / str(path)).unlink()
    command = ("extract", "--views", "2", "--augment", "flip", "--gradients", "--json")
    command = (*command, "--max-errors", str(len(missing)))
    parts = SMALL_PARTS.format(pause=0)
    (single,) = run_ranks(*command, workspace=alone, place=tmp_path / "one", count=1, before=parts)
    first, second = two(*command, workspace=shared, before=parts)
    assert (single.code, first.code, second.code) == (0, 0, 0), first.err
    assert [row["images"] for row in first.data] == [row["images"] for row in single.data]
    assert second.out + second.err == ""
    failed = {Path(str(failure.path)) for failure in load_failures(config.load(shared), "extract")}
    assert failed == set(map(Path, map(str, missing)))
    made, expected = (
        {name: digest for name, digest in contents(place).items() if not name.startswith("errors/")}
        for place in (shared, alone)
    )
    assert made == expected
    # Each has made some of the parts, and neither finds anything left to do.
    assert 0 < int(first.err.partition("extract ")[2].partition("/")[0]) < len(manifest.ids)
    again = two(*command, workspace=shared, before=parts)
    assert [result.code for result in again] == [0, 0]
    assert again[0].err.count("up to date") == 11


@pytest.mark.slow
def test_torchrun_passes_term_on(workspace: Path, mine: Path, tmp_path: Path) -> None:
    command = ["-m", "zoo_cli", *COMMANDS["kl"], *LENGTH, "--steps", "100000", "-C", str(workspace)]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *command]
    with (tmp_path / "err").open("w") as err:
        process = subprocess.Popen(torchrun, stderr=err, cwd=ROOT)
        try:
            end = time.monotonic() + 90
            while not (mine / "state" / "state.json").exists():
                assert process.poll() is None, (tmp_path / "err").read_text()
                assert time.monotonic() < end
                time.sleep(0.05)
            process.terminate()
            process.wait(60)
        finally:
            process.kill()
    assert (tmp_path / "err").read_text().count("zoo: error: stopped by SIGTERM") == 1
    done = files.read_json(mine / "state" / "state.json")["step"]
    assert done % 4
