"""Eight processes that share a fresh workspace: each ends well, and the files are those of one after the other."""

import functools
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.faults.processes import ROOT, start
from tests.pipeline.test_bytes import contents
from tests.workspaces import make, run
from zoo_cli.store import feature_store

Commands = tuple[tuple[str, ...], ...]

LATER = """
import time
from zoo_cli.store import feature_store
feature_store.PART_ROWS = {rows}
time.sleep(max(0.0, {begin} - time.time()))
"""
"""Small parts, and a start at a given time."""
PART_ROWS = 4
SOURCES = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theirs")
LENGTH = ("--steps", "2", "--batch-size", "8")
DISTILL: Commands = tuple(("distill", "--source", source, *LENGTH) for source in SOURCES)
PIPELINE: Commands = (
    ("split",),
    ("extract",),
    ("extract", "--gradients", "--projection", "20"),
    ("score",),
    ("score", "--metric", "ms-leep"),
    ("rank",),
    ("pseudo-label",),
    ("distill", *LENGTH),
)
COMMANDS = {"sources": DISTILL, "stages": PIPELINE}


def build(place: Path) -> Path:
    """A workspace of eight sources: seven networks, and the stored outputs of one more."""
    make(place)
    text = (place / "zoo.toml").read_text(encoding="utf-8")
    gamma = text.partition('name = "gamma"')[2]
    for width, name in enumerate(SOURCES[3:7], 9):
        text += f'\n[[source]]\nname = "{name}"{gamma.replace("width = 7", f"width = {width}")}'
    text += '\n[[source]]\nname = "theirs"\nmodel = "features:theirs.parquet"\n'
    (place / "zoo.toml").write_text(text, encoding="utf-8")
    paths = sorted((place / "images").rglob("*.png"))
    draw = np.random.default_rng(3)
    columns = {name: pa.array(list(draw.normal(size=(len(paths), 4)))) for name in ("embedding", "logits")}
    ids = [f"train/{path.relative_to(place / 'images').as_posix()}" for path in paths]
    pq.write_table(pa.table({"id": ids, **columns}), place / "theirs.parquet")
    return place


@functools.cache
def serial(folder: Path, commands: Commands) -> dict[str, str]:
    """The files that the commands make one after the other."""
    place = build(folder / "serial")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_store, "PART_ROWS", PART_ROWS)
        for command in commands:
            result = run(*command, workspace=place)
            assert result.code == 0, result.err
    return contents(place)


def at_once(place: Path, commands: Commands, delays: Sequence[float]) -> dict[str, str]:
    """The files that the commands make at the same time."""
    logs = [place.parent / f"{place.name}-{number}" for number in range(len(commands))]
    begin = time.time() + 0.1  # when all have been forked
    processes = [
        start(*command, workspace=place, before=LATER.format(rows=PART_ROWS, begin=begin + delay), place=log)
        for delay, log, command in zip(delays, logs, commands, strict=True)
    ]
    results = [process.result(300) for process in processes]
    assert [result.code for result in results] == [0] * len(commands), [result.err for result in results]
    return contents(place)


@pytest.mark.parametrize("count", [3, pytest.param(8, marks=pytest.mark.slow)])
def test_processes_write_the_bytes_of_one(tmp_path: Path, count: int) -> None:
    commands = DISTILL[-count:]
    assert at_once(build(tmp_path / "task"), commands, [0.0] * count) == serial(tmp_path, commands)


@pytest.mark.slow
@pytest.mark.parametrize("kind", COMMANDS)
def test_twenty_repeats_of_eight_processes(tmp_path: Path, kind: str) -> None:
    commands, draw = COMMANDS[kind], random.Random(0)
    for number in range(20):
        reach = draw.choice((0.0, 0.05, 0.5))
        place = build(tmp_path / f"task{number}")
        files = at_once(place, commands, [draw.uniform(0, reach) for _ in commands])
        assert files == serial(tmp_path, commands)
        assert len([name for name in files if name.endswith("model.safetensors")]) == (8 if kind == "sources" else 1)


@pytest.mark.slow
def test_eight_processes_of_their_own(tmp_path: Path) -> None:
    place = build(tmp_path / "task")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    children = [
        subprocess.Popen([sys.executable, "-m", "zoo_cli", *command, "-C", str(place)], env=environment, stdout=-3)
        for command in DISTILL
    ]
    assert [child.wait(timeout=300) for child in children] == [0] * 8
    one_by_one = build(tmp_path / "serial")
    for command in DISTILL:
        assert run(*command, workspace=one_by_one).code == 0
    assert contents(place) == contents(one_by_one)
