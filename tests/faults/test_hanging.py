"""A decoding thread that hangs or cannot start: the command ends, names the image, and keeps what is finished."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.processes import ROOT, start
from tests.marks import slow_unless
from tests.workspaces import run
from zoo_cli.store import feature_store

Make = Callable[..., Path]
HANGS = """
import os, time
from zoo_cli import interruption
from zoo_cli.images import decoding, in_order
from zoo_cli.store import feature_store

in_order.SILENCE, in_order.TICK, interruption.END_SECONDS = 2.0, 0.2, 0.2
feature_store.PART_ROWS = 4
load, count = decoding._load, 0
def hang(*arguments):
    global count
    count += 1
    if count == 22:
        {how}
    return load(*arguments)
decoding._load = hang
"""
PROGRAM = """
import sys
from zoo_cli import __main__
sys.exit(__main__.main(sys.argv[1:]))
"""
HOW = {"asleep": "time.sleep(300)", "in a system call": "os.read(os.pipe()[0], 1)"}


def run_hanging(place: Path, how: str, *arguments: str) -> tuple[int, str, float]:
    """The exit code of a command whose 22nd image hangs, its error, and its seconds."""
    begin = time.monotonic()
    process = subprocess.run(
        [sys.executable, "-c", HANGS.format(how=HOW[how]) + PROGRAM, *arguments, "-C", str(place)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return process.returncode, process.stderr, time.monotonic() - begin


@pytest.mark.parametrize("how", slow_unless(HOW, ("in a system call",)))
def test_hanging_decoder_ends_split(workspace: Make, how: str) -> None:
    place = workspace()
    code, err, seconds = run_hanging(place, how, "split", "--workers", "2")
    assert code == 1, err
    assert re.search(r"zoo: error: train/green/\d\d.png: no answer for 2 s from the thread", err)
    assert "Traceback" not in err
    assert seconds < 60
    assert run("split", workspace=place).code == 0


def test_parts_before_a_hanging_decoder_are_kept(
    workspace: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = workspace(upto="split")
    command = ("extract", "--source", "alpha", "--workers", "2")
    hanging = start(*command, workspace=place, before=HANGS.format(how=HOW["asleep"]), place=tmp_path / "log").result()
    assert hanging.code == 1, hanging.err
    assert re.match(r"train/green/\d\d.png: no answer for 2 s", hanging.error)
    finished = {part: part.stat().st_mtime_ns for part in place.glob("features/*/*/part-*.parquet")}
    assert len(finished) == 5
    monkeypatch.setattr(feature_store, "PART_ROWS", 4)
    assert run("extract", "--source", "alpha", workspace=place).code == 0
    assert {part: part.stat().st_mtime_ns for part in finished} == finished
    assert len(list(place.glob("features/*/*/part-*.parquet"))) == 9


@pytest.mark.parametrize("command", [("split",), ("extract",), ("distill", "--steps", "1", "--lam", "1")])
def test_decoding_thread_that_cannot_start_ends_the_command(
    workspace: Make, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    place = workspace() if command == ("split",) else workspace(upto="split")
    begin = threading.Thread.start

    def failing(thread: threading.Thread) -> None:
        if thread.name.startswith("decode"):
            raise RuntimeError("can't start new thread")
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", failing)
    result = run(*command, workspace=place)
    assert result.code == 1
    assert re.match(r"train/\w+/\d\d.png: no thread to decode it: can't start new thread; use fewer", result.error)
    monkeypatch.undo()
    assert run(*command, workspace=place).code == 0
