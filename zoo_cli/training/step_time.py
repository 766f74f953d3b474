"""The duration of a training step on this machine, and the memory order in which it is shortest."""

import copy
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from zoo_cli import device_errors
from zoo_cli.models.student import Student
from zoo_cli.objectives.supervised import Batch, Objective
from zoo_cli.training import loop
from zoo_cli.training.training_config import LoopOptions

TIMED_STEPS = 3
"""For each memory order, if there are two; a single one is timed once."""
LEAST_PIXELS = 64
"""The input size from which channels_last is tried on a CPU (tests/bench/README.md).

It may gain at smaller ones too, but their steps are short, and the same command should then give the same bits.
"""
LEAST_STEPS = 100
"""Shorter runs are over before a better memory order pays for the search."""
CLEAR_GAIN = 1.15


def may_gain(input_size: int, steps: int, device: torch.device) -> bool:
    """Whether steps on images of this size may be faster in channels_last. A GPU always uses it."""
    return device.type == "cpu" and input_size >= LEAST_PIXELS and steps >= LEAST_STEPS


def choose_layout(seconds: Mapping[bool, float]) -> bool:
    """Whether to train in channels_last, from the seconds of a step without and with it, or in one order alone."""
    if len(seconds) == 1:
        return next(iter(seconds))
    return seconds[False] >= CLEAR_GAIN * seconds[True]


def time_steps(
    student: Student,
    objective: Objective,
    batch_fn: Callable[[int], Batch],
    options: LoopOptions,
    device: torch.device,
    layouts: Sequence[bool],
) -> dict[bool, float]:
    """The seconds of a step in each memory order, True for channels_last, on copies of student and objective.

    The orders take turns, so that the machine's noise hits them all. Raises ZooError if the GPU runs out of memory.
    """
    timed = replace(options, steps=1, warmup=0, lr=0.0)
    seconds: dict[bool, list[float]] = {layout: [] for layout in layouts}
    with loop.step_context(options, device, seed=0), device_errors.memory_advice("the first step"):
        trainers = {
            layout: loop.Trainer(copy.deepcopy(student), copy.deepcopy(objective), timed, device, channels_last=layout)
            for layout in layouts
        }
        for number in range(1 + (TIMED_STEPS if len(layouts) > 1 else 1)):  # the first one warms up
            for layout, trainer in trainers.items():
                start = _now(device)
                trainer.step(0, batch_fn(number).to(device, trainer.order))
                if number:
                    seconds[layout].append(_now(device) - start)
    return {layout: statistics.median(values) for layout, values in seconds.items()}


def _now(device: torch.device) -> float:
    """The time at which all work of a device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.monotonic()
