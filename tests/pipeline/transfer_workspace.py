"""The small task, with networks that teach and learn in its own classes, and pseudo-labels of alpha and beta.

"expert" is mostly right, "mirror" is the same network with its classes in another order, "noisy" mixes colours up
(`tests.evaluate.task_models`); "normed" has batch norm and dropout, which are hard to interrupt and to average, and
weights from the seed. Made once a session; each test takes a copy.
"""

import atexit
import functools
import random
import shutil
import signal
import tempfile
from collections.abc import Callable
from os import getpid, kill
from pathlib import Path

import pytest

from zoo_cli import registry
from zoo_cli.config import Config
from zoo_cli.pipeline import training_task
from zoo_cli.pipeline.training_task import TrainingTask
from zoo_cli.progress import Progress
from zoo_cli.training.training_config import TrainingConfig

from ..evaluate import task_models
from ..workspaces import Result, run

QUICK = ("--steps", "6", "--batch-size", "8", "--workers", "0")
NORMED = '''"""Batch norm and dropout, which are hard to interrupt and to average."""

from torch import nn


def normed(width=6, classes=3):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(width, classes),
    )
'''
SOURCE = """
[[source]]
name = "normed"
model = "python:normed.py:normed"
classes = ["blue", "green", "red"]
input_size = 12
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
"""


def make(folder: Path) -> Path:
    """A workspace of its own in `folder`."""
    shutil.copytree(_template(), folder)
    return folder


def add_normed(place: Path) -> None:
    """Add the source "normed" to a workspace."""
    (place / "normed.py").write_text(NORMED, encoding="utf-8")
    with (place / "zoo.toml").open("a", encoding="utf-8") as stream:
        stream.write(SOURCE)


def ok(*arguments: str, workspace: Path | None = None) -> Result:
    """Run a command that must not fail."""
    result = run(*arguments, workspace=workspace)
    assert result.code == 0, result.err
    return result


def load_task(settings: Config) -> TrainingTask:
    """The images of a workspace as a training command loads them."""
    return training_task.load_task(settings, TrainingConfig(workers=0).resolve(registry.OBJECTIVES["supervised"]))


def model(run_folder: Path) -> bytes:
    """The bytes of a student."""
    return (run_folder / "model.safetensors").read_bytes()


def on_step(step: int, act: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Call `act` after a number of training steps of this process, over all of its runs."""
    counted = 0
    advance = Progress.advance

    def count(self: Progress, more: int) -> None:
        nonlocal counted
        advance(self, more)
        if self.title == "train" and more:
            counted += 1
            if counted == step:
                act()

    monkeypatch.setattr(Progress, "advance", count)


def term() -> None:
    """Send TERM to this process."""
    kill(getpid(), signal.SIGTERM)


def stopped(step: int, *arguments: str, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    """Run a command that gets TERM in this step; its last step is not counted."""
    with monkeypatch.context() as patch:
        on_step(step, term, patch)
        return run(*arguments, workspace=workspace)


def until_done(*arguments: str, workspace: Path, monkeypatch: pytest.MonkeyPatch, seed: int = 0) -> int:
    """Run a command until it is done, stopped by TERM after a few random steps; the number of stops."""
    draw = random.Random(seed)
    for stops in range(60):
        result = stopped(draw.randint(1, 4), *arguments, workspace=workspace, monkeypatch=monkeypatch)
        if result.code == 0:
            return stops
        assert result.code == 143, result.err
        assert result.error == "stopped by SIGTERM; the same command goes on from here"
    raise AssertionError("it never ends")


@functools.cache
def _template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="zoo-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    place = task_models.make(folder / "task")
    add_normed(place)
    for stage in ("rank", "pseudo-label"):
        ok(stage, "--source", "alpha", "--source", "beta", workspace=place)
    return place
