"""What an objective costs beyond its networks: its step over a supervised step plus the forward passes that it needs.

    OMP_NUM_THREADS=1 python -m tests.bench.bench_objectives [cpu|cuda]      prints one JSON object per student
    OMP_NUM_THREADS=1 pytest -m bench tests/bench/bench_objectives.py        asserts the ratios

The supervised step has as many rows; a live teacher, and the original student of dp, each need one forward pass of the
batch without gradient. Teacher and student have the same architecture. On a GPU bf16, channels last.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.bench import interleaved
from tests.bench.bench_step import _student
from zoo_cli.models.capture import FeatureExtractor
from zoo_cli.objectives.dp import DP
from zoo_cli.objectives.fixmatch import FixMatch
from zoo_cli.objectives.kl import KL
from zoo_cli.objectives.mcl import MCL
from zoo_cli.objectives.supervised import Batch, Objective, Supervised
from zoo_cli.objectives.teacher_context import TeacherContext
from zoo_cli.objectives.xe_kl import XeKL
from zoo_cli.training import loop
from zoo_cli.training.training_config import LoopOptions, Precision

SETTINGS = {"cpu": (("resnet18", 64, 48), ("mobilenet_v3_large", 96, 48)), "cuda": (("resnet50", 224, 128),)}
WITH_TEACHER: dict[str, Callable[[TeacherContext], Objective]] = {"kl": KL, "xe-kl": XeKL, "mcl": MCL, "dp": DP}
TARGET = 1.10


@pytest.mark.bench
@pytest.mark.parametrize("setting", SETTINGS["cpu"], ids=lambda setting: setting[0])
def test_objectives_add_little_to_their_networks(setting: tuple[str, int, int]) -> None:
    ratios = measure(torch.device("cpu"), *setting, blocks=5, calls=2)["ratios"]
    assert {name: ratio["median"] for name, ratio in ratios.items() if ratio["median"] > TARGET} == {}


@pytest.mark.bench
@pytest.mark.gpu(checks=f"a step of any objective takes at most {TARGET} times as long as its networks alone")
@pytest.mark.parametrize("setting", SETTINGS["cuda"], ids=lambda setting: setting[0])
def test_objectives_add_little_to_their_networks_on_a_gpu(setting: tuple[str, int, int]) -> None:
    ratios = measure(torch.device("cuda"), *setting, blocks=5, calls=50)["ratios"]
    assert {name: ratio["median"] for name, ratio in ratios.items() if ratio["median"] > TARGET} == {}


class _Teacher(torch.nn.Module):
    """A teacher: the logits of a network."""

    def __init__(self, network: FeatureExtractor):
        super().__init__()
        self.network = network.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            logits: torch.Tensor = self.network(images)[1]
        return logits


def measure(
    device: torch.device, name: str, size: int, rows: int, blocks: int = 7, calls: int = 3, classes: int = 20
) -> dict[str, Any]:
    """Milliseconds of every objective's step, and their ratios to the supervised step plus the forward passes."""
    torch.manual_seed(0)
    images, labels = torch.randn(rows, 3, size, size), torch.randint(0, classes, (rows,))
    order = torch.channels_last if device.type == "cuda" else torch.preserve_format
    whole = Batch(images, labels).to(device, order)
    stored = Batch(images, labels, teacher_logits=torch.randn(1, rows, classes)).to(device, order)
    third = rows // 3
    fixmatch = Batch(images[: 2 * third], labels[:third], strong=images[2 * third :]).to(device, order)
    precision: Precision = "bf16" if device.type == "cuda" else "fp32"

    def placed(network: torch.nn.Module) -> torch.nn.Module:
        network.to(device)
        return network.to(memory_format=torch.channels_last) if device.type == "cuda" else network

    teacher, original = placed(_Teacher(_student(name, size, classes))), _student(name, size, classes)
    placed(original.eval())

    def step(objective: Objective, batch: Batch) -> Callable[[], None]:
        student = _student(name, size, classes)
        run = loop.Trainer(student, objective, LoopOptions(steps=10**9, precision=precision), device)
        return lambda: run.step(1, batch)

    def forward() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            teacher(whole.images)

    context = TeacherContext((teacher,), original, steps=1000)
    forms = {"supervised": step(Supervised(), whole), "forward": forward}
    forms |= {key: step(make(context), whole) for key, make in WITH_TEACHER.items()}
    forms |= {"kl stored": step(KL(TeacherContext((), original, 1000)), stored), "fixmatch": step(FixMatch(), fixmatch)}
    times = interleaved.milliseconds(forms, device, blocks, calls)

    def baseline(forwards: int) -> list[float]:
        return [a + forwards * b for a, b in zip(times["supervised"], times["forward"], strict=True)]

    forwards = {"kl": 1, "xe-kl": 1, "mcl": 1, "dp": 2, "kl stored": 0, "fixmatch": 0}
    return {
        **interleaved.machine(device),
        "student": name,
        "pixels": size,
        "rows": rows,
        "milliseconds": interleaved.summary(times),
        "ratios": {key: interleaved.ratio(times[key], baseline(count)) for key, count in forwards.items()},
        "target": TARGET,
    }


if __name__ == "__main__":
    where = torch.device(sys.argv[1] if len(sys.argv) > 1 else "cpu")
    many = 50 if where.type == "cuda" else 2
    for setting in SETTINGS[where.type]:
        print(json.dumps(measure(where, *setting, calls=many)))
