"""A training step on a CPU in both memory orders: what channels_last gains, and from which input size on.

    OMP_NUM_THREADS=1 python -m tests.bench.bench_layouts       prints one JSON object a line
    OMP_NUM_THREADS=1 pytest -m bench tests/bench/bench_layouts.py

The loop's own step of supervised training, batch 32. `training.step_time` decides by the same measurement.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.bench import interleaved
from tests.bench.bench_step import _student
from zoo_cli.objectives.supervised import Batch, Supervised
from zoo_cli.training import loop, step_time
from zoo_cli.training.training_config import LoopOptions

CPU = torch.device("cpu")
STUDENTS = ("mobilenet_v3_small", "resnet18", "squeezenet1_1")
SIZES = (224, 128, 96, 64, 48, 32)


@pytest.mark.bench
def test_channels_last_is_worth_its_search() -> None:
    gain = measure("mobilenet_v3_small", 224, blocks=3)["gain"]["median"]
    assert gain >= step_time.CLEAR_GAIN


def measure(name: str, size: int, rows: int = 32, blocks: int = 5, classes: int = 20) -> dict[str, Any]:
    """Milliseconds of a step in both orders, and the ratio of contiguous to channels_last."""
    torch.manual_seed(0)
    images, labels = torch.randn(rows, 3, size, size), torch.randint(0, classes, (rows,))

    def step(channels_last: bool) -> Callable[[], None]:
        options = LoopOptions(steps=10**9)
        trainer = loop.Trainer(_student(name, size, classes), Supervised(), options, CPU, channels_last=channels_last)
        batch = Batch(images, labels).to(CPU, trainer.order)
        return lambda: trainer.step(0, batch)

    forms = {"contiguous": step(False), "channels_last": step(True)}
    times = interleaved.milliseconds(forms, CPU, blocks, calls=1)
    return {
        **interleaved.machine(CPU),
        "student": name,
        "pixels": size,
        "rows": rows,
        "milliseconds": interleaved.summary(times),
        "gain": interleaved.ratio(times["contiguous"], times["channels_last"]),
    }


if __name__ == "__main__":
    for student in sys.argv[1:] or STUDENTS:
        for pixels in SIZES:
            print(json.dumps(measure(student, pixels)), flush=True)
