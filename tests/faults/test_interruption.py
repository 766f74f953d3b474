"""Kills and signals: finished work is kept, and the same command ends with the same bytes."""

import hashlib
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.faults.processes import SMALL_PARTS, Process, start
from tests.marks import slow, slow_unless
from tests.workspaces import make

Make = Callable[..., Path]
DISTILL = ("distill", "--batch-size", "8", "--augment", "flip", "--name", "mine", "--checkpoint-every", "3")


def parts(place: Path) -> list[Path]:
    return sorted(place.glob("features/*/*/part-*.parquet"))


def digests(folder: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones too, so that leftover temporary files show."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".log.json")
    }


def extracting(place: Path, log: Path, pause: float = 0.0) -> Process:
    return start("extract", workspace=place, before=SMALL_PARTS.format(pause=pause), place=log)


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The files of an uninterrupted extraction in small parts."""
    folder = tmp_path_factory.mktemp("unbroken")
    place = make(folder / "task", upto="split")
    result = extracting(place, folder / "log").result()
    assert result.code == 0, result.err
    assert len(parts(place)) == 36
    return digests(place / "features")


def check_whole(place: Path, unbroken: dict[str, str]) -> None:
    assert digests(place / "features") == unbroken
    for source in ("alpha", "beta", "gamma"):
        ids = [
            name
            for part in parts(place)
            if f"source={source}" in str(part)
            for name in pq.read_table(part).column("id").to_pylist()
        ]
        assert ids == pq.read_table(place / "manifest.parquet").column("id").to_pylist()


def kill_at_random(place: Path, log: Path, unbroken: dict[str, str], kills: int, seed: int) -> None:
    """Kill an extraction again and again, then let it end."""
    chance = random.Random(seed)
    for number in range(kills):
        process = extracting(place, log / str(number), pause=0.01)
        process.until((place / "features").exists)
        time.sleep(chance.uniform(0, 0.25))
        process.send(signal.SIGKILL)
        assert process.result().code in (-signal.SIGKILL, 0)
        # A part is never half written.
        for part in parts(place):
            assert hashlib.sha256(part.read_bytes()).hexdigest() == unbroken[str(part.relative_to(place / "features"))]
    ended = extracting(place, log / "last").result()
    assert ended.code == 0, ended.err
    check_whole(place, unbroken)


@pytest.mark.parametrize("seed", [0, *slow(1, 2)])
def test_extraction_resumed_after_kill_is_bit_equal(
    workspace: Make, tmp_path: Path, unbroken: dict[str, str], seed: int
) -> None:
    kill_at_random(workspace(upto="split"), tmp_path / "log", unbroken, kills=1, seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 20))
def test_extraction_resumed_after_many_kills_is_bit_equal(
    workspace: Make, tmp_path: Path, unbroken: dict[str, str], seed: int
) -> None:
    kill_at_random(workspace(upto="split"), tmp_path / "log", unbroken, kills=4, seed=seed)


STEPS = {
    "before the part is written": "os.open",
    "before it is on disk": "os.fsync",
    "before it is in its place": "os.replace",
}
KILL_AT = """
import os, signal
_real, _left = {step}, [{calls}]
def _deadly(*arguments, **options):
    _left[0] -= 1
    if _left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return _real(*arguments, **options)
{step} = _deadly
"""


FEW = [("before the part is written", 3), ("before it is on disk", 0), ("before it is in its place", 8)]
ALL = [(step, calls) for step in STEPS for calls in (0, 3, 8)]


@pytest.mark.parametrize("moment", slow_unless(ALL, FEW), ids=str)
def test_kill_during_a_write_leaves_old_or_new_file(
    workspace: Make, tmp_path: Path, unbroken: dict[str, str], moment: tuple[str, int]
) -> None:
    step, calls = moment
    place = workspace(upto="split")
    before = SMALL_PARTS.format(pause=0) + KILL_AT.format(step=STEPS[step], calls=calls)
    killed = start("extract", workspace=place, before=before, place=tmp_path / "killed").result()
    assert killed.code == -signal.SIGKILL
    for part in parts(place):
        assert hashlib.sha256(part.read_bytes()).hexdigest() == unbroken[str(part.relative_to(place / "features"))]
    assert extracting(place, tmp_path / "again").result().code == 0
    check_whole(place, unbroken)


def test_kill_before_failures_are_recorded_loses_none(workspace: Make, tmp_path: Path) -> None:
    place = workspace(upto="split")
    (place / "images/blue/01.png").unlink()
    process = extracting(place, tmp_path / "killed", pause=0.05)
    process.until(lambda: parts(place))
    process.send(signal.SIGKILL)
    process.result()
    ended = start(
        "extract", "--max-errors", "1", workspace=place, before=SMALL_PARTS.format(pause=0), place=tmp_path / "again"
    ).result()
    assert ended.code == 0, ended.err
    assert "1 of 36 images failed, e.g. train/blue/01.png" in ended.err
    (row,) = pq.read_table(place / "errors/extract.parquet").to_pylist()
    assert row["id"] == "train/blue/01.png"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR2", *slow("SIGINT", "SIGHUP", "SIGUSR1")])
def test_signal_stops_extraction_and_keeps_parts(
    workspace: Make, tmp_path: Path, unbroken: dict[str, str], name: str
) -> None:
    place, signum = workspace(upto="split"), signal.Signals[name]
    process = extracting(place, tmp_path / "stopped", pause=0.05)
    process.until(lambda: parts(place))
    process.send(signum)
    result = process.result()
    assert result.code == 128 + signum
    assert result.error == f"stopped by {name}; the same command goes on from here"
    times = {part: part.stat().st_mtime_ns for part in parts(place)}
    assert 0 < len(times) < 36
    assert extracting(place, tmp_path / "again").result().code == 0
    assert {part: part.stat().st_mtime_ns for part in times} == times, "a part was written twice"
    check_whole(place, unbroken)


@pytest.mark.parametrize("name", ["SIGINT", *slow("SIGTERM", "SIGUSR1")])
def test_training_resumed_after_signal_is_bit_equal(workspace: Make, tmp_path: Path, name: str) -> None:
    place, signum = workspace(upto="pseudo-label"), signal.Signals[name]
    slow = "\nimport time\n_train = loop.train\n" + (
        "def slowly(*a, **k):\n"
        "    if k.get('resume') is None and k['save'].__name__ == 'save':\n"
        "        stop = k['should_stop']\n"
        "        k['should_stop'] = lambda: time.sleep(0.05) or stop()\n"
        "    return _train(*a, **k)\n"
        "loop.train = slowly\n"
    )
    command = (*DISTILL, "--steps", "40")
    process = start(*command, workspace=place, before=slow, place=tmp_path / "stopped")
    process.until(lambda: (place / "runs/mine/state/state.json").exists())
    process.send(signum)
    result = process.result()
    assert result.code == 128 + signum
    assert result.error == f"stopped by {name}; the same command goes on from here"
    assert not (place / "runs/mine/predictions.parquet").exists()
    assert start(*command, workspace=place, place=tmp_path / "again").result().code == 0
    other = workspace(upto="pseudo-label")
    assert start(*command, workspace=other, place=tmp_path / "unbroken").result().code == 0
    assert digests(place / "runs/mine") == digests(other / "runs/mine")


def test_training_resumed_after_kill_is_bit_equal(workspace: Make, tmp_path: Path) -> None:
    place, other = workspace(upto="pseudo-label"), workspace(upto="pseudo-label")
    command = (*DISTILL, "--steps", "10")
    for number, calls in enumerate((4, 5, 2)):
        deadly = KILL_AT.format(step="os.replace", calls=calls)
        killed = start(*command, workspace=place, before=deadly, place=tmp_path / str(number)).result()
        assert killed.code == -signal.SIGKILL
    assert start(*command, workspace=place, place=tmp_path / "again").result().code == 0
    assert start(*command, workspace=other, place=tmp_path / "unbroken").result().code == 0
    assert digests(place / "runs/mine") == digests(other / "runs/mine")


HANG = """
import time
from zoo_cli.training import loop
def _hang(*a, **k):
    print("hanging", file=sys.stderr, flush=True)
    while True:
        time.sleep(1)
loop.train = _hang
"""


def test_second_interrupt_stops_at_once(workspace: Make, tmp_path: Path) -> None:
    place = workspace(upto="pseudo-label")
    hang = HANG.replace("loop.train = _hang", "_real = loop.train\n") + (
        "loop.train = lambda *a, **k: _hang() if k['save'].__name__ == 'save' else _real(*a, **k)\n"
    )
    process = start(*DISTILL, "--steps", "5", workspace=place, before=hang, place=tmp_path / "hanging")
    process.until(lambda: "hanging" in (tmp_path / "hanging/err").read_text())
    process.send(signal.SIGINT)
    time.sleep(0.3)
    assert not process.ended
    before = time.monotonic()
    process.send(signal.SIGINT)
    result = process.result()
    assert result.code == 130
    assert time.monotonic() - before < 2


def test_interrupt_while_exiting_has_no_traceback(workspace: Make, tmp_path: Path) -> None:
    place = workspace(upto="split")
    slow_terminal = SMALL_PARTS.format(pause=0.05) + (
        "from zoo_cli import console\n"
        "_fail = console.Console.fail\n"
        "console.Console.fail = lambda *a: (_fail(*a), time.sleep(1))\n"
    )
    process = start("extract", workspace=place, before=slow_terminal, place=tmp_path / "stopped")
    process.until(lambda: parts(place))
    process.send(signal.SIGINT)
    process.until(lambda: "stopped by" in (tmp_path / "stopped/err").read_text())
    process.send(signal.SIGINT)
    result = process.result()
    assert result.code == 130
    assert "Traceback" not in result.err


def test_training_resumed_after_max_time_is_bit_equal(workspace: Make, tmp_path: Path) -> None:
    place, other = workspace(upto="pseudo-label"), workspace(upto="pseudo-label")
    command = (*DISTILL, "--steps", "6")
    rounds = 0
    while True:
        result = start(*command, "--max-time", "0s", workspace=place, place=tmp_path / str(rounds)).result()
        rounds += 1
        if result.code != 75:
            break
        assert "the time limit is over at step" in result.error
        assert rounds < 20
    assert result.code == 0, result.err
    assert rounds > 3
    assert start(*command, workspace=other, place=tmp_path / "unbroken").result().code == 0
    assert digests(place / "runs/mine") == digests(other / "runs/mine")


def test_ignored_signals_stay_ignored(workspace: Make, tmp_path: Path) -> None:
    place = workspace(upto="split")
    nohup = SMALL_PARTS.format(pause=0.005) + "\nimport signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    process = start("extract", workspace=place, before=nohup, place=tmp_path / "nohup")
    process.until(lambda: parts(place))
    process.send(signal.SIGHUP)
    assert process.result().code == 0


def test_temporary_files_of_killed_process_are_removed(workspace: Make, tmp_path: Path) -> None:
    place = workspace(upto="split")
    deadly = SMALL_PARTS.format(pause=0) + KILL_AT.format(step="os.replace", calls=5)
    assert start("extract", workspace=place, before=deadly, place=tmp_path / "killed").result().code < 0
    assert list(place.rglob("*.tmp"))
    assert extracting(place, tmp_path / "again").result().code == 0
    assert list(place.rglob("*.tmp")) == []
