"""One process writes the folder of a run at a time; the same command waits for it, another one is refused."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tests.faults.processes import Process, start
from tests.faults.test_interruption import digests
from tests.ranks import start_ranks
from tests.workspaces import run
from zoo_cli.errors import UsageError, ZooError
from zoo_cli.progress import Progress
from zoo_cli.store import lease
from zoo_cli.store.writers import Writer

Make = Callable[..., Path]
QUICK = ("--steps", "12", "--batch-size", "8", "--augment", "flip", "--name", "mine", "--checkpoint-every", "3")
DISTILL = ("distill", *QUICK)
SLOW_STEPS = """
import time
from zoo_cli.training import runner
_reason = runner._reason_to_stop
runner._reason_to_stop = lambda training: (time.sleep({pause}), _reason(training))[1]
"""


@pytest.fixture
def training(workspace: Make, tmp_path: Path) -> tuple[Path, Process]:
    """A workspace in which a process is training the run `mine`."""
    place = workspace(upto="pseudo-label")
    process = start(*DISTILL, workspace=place, before=SLOW_STEPS.format(pause=0.25), place=tmp_path / "holder")
    process.until(lambda: (place / "runs/mine/state/state.json").exists())
    return place, process


def plant(folder: Path, writer: Writer, age: float = 0.0, run_digest: str = "a") -> Path:
    """A lease of another process, whose last sign is `age` seconds old."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".lease-1"
    path.write_text(json.dumps({**asdict(writer), "since": time.time() - age, "run": run_digest, "mark": "x"}))
    os.utime(path, (time.time() - age,) * 2)
    return path


def ended_pid() -> int:
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


def test_same_command_waits_and_is_up_to_date(training: tuple[Path, Process], tmp_path: Path) -> None:
    place, holder = training
    second = start(*DISTILL, workspace=place, place=tmp_path / "second").result()
    assert second.code == 0, second.err
    assert f"waiting for process {holder.pid} on " in second.err
    assert "runs/mine is up to date" in second.err
    assert holder.result().code == 0
    assert not list((place / "runs/mine").glob(".*"))


def test_other_command_under_a_name_is_refused_at_once(training: tuple[Path, Process]) -> None:
    place, holder = training
    for flags in (("--lr", "0.5"), ("--lr", "0.5", "--overwrite")):
        result = run(*DISTILL, *flags, workspace=place)
        assert result.code == 2
        assert f"is being made by process {holder.pid} on {os.uname().nodename} for " in result.error
        assert "with other options or inputs" in result.error
    holder.send(signal.SIGTERM)
    assert holder.result().code == 143
    assert run(*DISTILL, workspace=place).code == 0


def test_wait_zero_fails_and_a_short_wait_ends(training: tuple[Path, Process]) -> None:
    place, holder = training
    for seconds in ("0", "0.3"):
        result = run(*DISTILL, "--wait", seconds, workspace=place)
        assert result.code == 1
        assert f"is being made by process {holder.pid} on {os.uname().nodename} for" in result.error
        assert "--wait" in result.error
    holder.send(signal.SIGKILL)


def test_lease_of_a_killed_process_is_taken_over(training: tuple[Path, Process], workspace: Make) -> None:
    place, holder = training
    holder.send(signal.SIGKILL)
    holder.result()
    assert (place / "runs/mine/.lease-1").exists()
    assert run(*DISTILL, "--wait", "0", workspace=place).code == 0
    other = workspace(upto="pseudo-label")
    assert run(*DISTILL, workspace=other).code == 0
    assert digests(place / "runs/mine") == digests(other / "runs/mine")


def test_two_commands_at_once_never_mix(workspace: Make, tmp_path: Path) -> None:
    place = workspace(upto="pseudo-label")
    slow = SLOW_STEPS.format(pause=0.03)
    both = [
        start(*DISTILL, "--lr", rate, workspace=place, before=slow, place=tmp_path / rate) for rate in ("0.1", "0.01")
    ]
    codes = [process.result().code for process in both]
    assert sorted(codes) == [0, 2], [process.result().err for process in both]
    rate = ("0.1", "0.01")[codes.index(0)]
    alone = workspace(upto="pseudo-label")
    assert run(*DISTILL, "--lr", rate, workspace=alone).code == 0
    assert digests(place / "runs/mine") == digests(alone / "runs/mine")


def test_the_first_process_of_a_job_holds_the_lease(workspace: Make, tmp_path: Path) -> None:
    place = workspace(upto="pseudo-label")
    job = start_ranks(*DISTILL, workspace=place, place=tmp_path / "job", before=SLOW_STEPS.format(pause=0.1))
    job[0].until(lambda: (place / "runs/mine/.lease-1").exists())
    assert json.loads((place / "runs/mine/.lease-1").read_text())["pid"] == job[0].pid
    assert [process.result().code for process in job] == [0, 0]
    assert not list((place / "runs/mine").glob(".*"))


def test_seeds_in_another_order_do_not_lock_each_other(workspace: Make, tmp_path: Path) -> None:
    place = workspace(upto="pseudo-label")
    flags = ("distill", *QUICK[:-4], "--checkpoint-every", "3")
    both = [
        start(
            *flags,
            *("--seed", order[0], "--seed", order[1]),
            workspace=place,
            before=SLOW_STEPS.format(pause=0.02),
            place=tmp_path / order,
        )
        for order in ("01", "10")
    ]
    assert [process.result().code for process in both] == [0, 0]


OTHER_PLACES = {
    "another host": {"host": "elsewhere", "boot": "other"},
    "another boot": {"boot": "other"},
    "another container": {"namespace": "pid:[1]"},
}


@pytest.mark.parametrize("change", OTHER_PLACES)
def test_lease_of_another_place_is_judged_by_its_age(tmp_path: Path, change: str) -> None:
    # Its pid is that of no process here, which says nothing about a process elsewhere.
    writer = replace(Writer.current(), pid=ended_pid(), **OTHER_PLACES[change])
    plant(tmp_path / "fresh", writer, age=lease.STALE_SECONDS - 60)
    with pytest.raises(
        ZooError, match=f"is being made by process {writer.pid} on {writer.host} for 4 min 0 s"
    ) as raised:
        lease.take(tmp_path / "fresh", "a", wait=0)
    assert raised.value.code == 1
    plant(tmp_path / "old", writer, age=lease.STALE_SECONDS + 60)
    taken = lease.take(tmp_path / "old", "a", wait=0)
    assert not taken.sole
    assert [path.name for path in (tmp_path / "old").iterdir()] == [".lease-2"]
    taken.release()


def test_pid_that_is_used_again_is_another_process(tmp_path: Path) -> None:
    plant(tmp_path / "run", replace(Writer.current(), started="1"))
    taken = lease.take(tmp_path / "run", "a", wait=0)
    assert taken.sole
    taken.release()


def test_other_run_is_refused_whatever_the_wait(tmp_path: Path) -> None:
    plant(tmp_path / "run", replace(Writer.current(), host="elsewhere"), age=60)
    for wait in (None, 0, 5):
        with pytest.raises(UsageError, match=r"process .* on elsewhere for 1 min 0 s, with other options or inputs"):
            lease.take(tmp_path / "run", "b", wait)
    with pytest.raises(UsageError):
        lease.check_free(tmp_path / "run", "b")


def test_holder_that_was_taken_over_stops(tmp_path: Path) -> None:
    own = lease.take(tmp_path / "run", "a", wait=0)
    own.confirm()
    (tmp_path / "run/.lease-2").write_text("of another process")
    with pytest.raises(lease.LeaseLost, match="has taken this run over"):
        own.confirm()
    own.release()
    assert (tmp_path / "run/.lease-2").exists()


def test_signs_are_given_while_work_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = lease.take(tmp_path / "run", "a", wait=0)
    os.utime(own.path, (0, 0))
    with Progress("train", 2, "step") as progress:
        progress.advance(1)
        assert own.path.stat().st_mtime == 0
        monkeypatch.setattr(lease, "BEAT_SECONDS", 0.0)
        progress.advance(1)
    assert time.time() - own.path.stat().st_mtime < 60
    own.release()


def test_one_of_many_takes_a_stale_lease(tmp_path: Path) -> None:
    plant(tmp_path / "run", replace(Writer.current(), pid=ended_pid()))
    script = (
        "import sys, time; from pathlib import Path; from zoo_cli.store import lease\n"
        "from zoo_cli.errors import ZooError\n"
        "while time.time() < float(sys.argv[2]): pass\n"
        "try: lease.take(Path(sys.argv[1]), 'a', 0); print('taken', flush=True); time.sleep(0.5)\n"
        "except ZooError: print('held', flush=True)\n"
    )
    begin = str(time.time() + 1)
    children = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "run"), begin], stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    answers = sorted(child.communicate(timeout=60)[0].strip() for child in children)
    assert answers == ["held", "held", "held", "taken"]
