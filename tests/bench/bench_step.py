"""What 28 sources add to a training step: a distillation step over a supervised one of the same student and batch.

    OMP_NUM_THREADS=1 python -m tests.bench.bench_step [cpu|cuda]       prints one JSON object
    OMP_NUM_THREADS=1 pytest -m bench tests/bench/bench_step.py         asserts the ratios

The loop's own step: forward, loss, backward, fused SGD, the log's sums. The pseudo-labels are stored ones, in memory,
for the half of the batch without labels. On a GPU bf16, channels last.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.bench import interleaved
from tests.bench.bench_heads import ALPHA, CLASSES, KINDS
from zoo_cli.models.capture import FeatureExtractor, find_tap
from zoo_cli.objectives.cross_task import CrossTask
from zoo_cli.objectives.supervised import Batch, Objective, Supervised
from zoo_cli.training import loop
from zoo_cli.training.training_config import LoopOptions

SETTINGS = {
    "cpu": (("mobilenet_v3_large", 96, 64), ("resnet18", 64, 64)),
    "cuda": (("mobilenet_v3_large", 224, 128), ("resnet18", 224, 128)),
}
TARGET = {"cpu": 1.10, "cuda": 1.05}


@pytest.mark.bench
@pytest.mark.parametrize("setting", SETTINGS["cpu"], ids=lambda setting: setting[0])
def test_distillation_adds_little_to_training(setting: tuple[str, int, int]) -> None:
    assert measure(torch.device("cpu"), *setting, blocks=5, calls=2)["ratio"]["median"] <= TARGET["cpu"]


@pytest.mark.bench
@pytest.mark.gpu(checks=f"a distillation step takes at most {TARGET['cuda']} times as long as a supervised one")
@pytest.mark.parametrize("setting", SETTINGS["cuda"], ids=lambda setting: setting[0])
def test_distillation_adds_little_to_training_on_a_gpu(setting: tuple[str, int, int]) -> None:
    assert measure(torch.device("cuda"), *setting, blocks=5, calls=50)["ratio"]["median"] <= TARGET["cuda"]


def measure(
    device: torch.device, name: str, size: int, rows: int, blocks: int = 7, calls: int = 3, classes: int = 20
) -> dict[str, Any]:
    """Milliseconds of both steps, and the ratio of the distillation step to the supervised one."""
    torch.manual_seed(0)
    images, labels = torch.randn(rows, 3, size, size), torch.randint(0, classes, (rows,))
    half = rows // 2
    targets = torch.cat([torch.randn(rows - half, k).mul(2).softmax(1) for k in CLASSES], 1).half()
    order = torch.channels_last if device.type == "cuda" else torch.preserve_format
    whole = Batch(images, labels).to(device, order)
    halves = Batch(images, labels[:half], targets).to(device, order)

    def step(batch: Batch, distill: bool) -> Callable[[], None]:
        student = _student(name, size, classes)
        objective: Objective = Supervised()
        if distill:
            width = student.tap.dim
            objective = CrossTask(width, CLASSES, KINDS, ALPHA, torch.Generator().manual_seed(0))
        options = LoopOptions(steps=10**9, precision="bf16" if device.type == "cuda" else "fp32")
        run = loop.Trainer(student, objective, options, device)
        return lambda: run.step(0, batch)

    forms = {"supervised": step(whole, False), "distill": step(halves, True)}
    times = interleaved.milliseconds(forms, device, blocks, calls)
    return {
        **interleaved.machine(device),
        "student": name,
        "pixels": size,
        "rows": rows,
        "sources": len(CLASSES),
        "milliseconds": interleaved.summary(times),
        "ratio": interleaved.ratio(times["distill"], times["supervised"]),
        "target": TARGET[device.type],
    }


def _student(name: str, size: int, classes: int) -> FeatureExtractor:
    import torchvision

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(torchvision.models, name)(num_classes=classes).eval()
        return FeatureExtractor(model, find_tap(model, torch.randn(2, 3, size, size), classes))


if __name__ == "__main__":
    where = torch.device(sys.argv[1] if len(sys.argv) > 1 else "cpu")
    many = 200 if where.type == "cuda" else 3
    print(json.dumps([measure(where, *setting, calls=many) for setting in SETTINGS[where.type]]))
