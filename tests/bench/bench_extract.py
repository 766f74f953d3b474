"""Extraction: what decoding once for all sources saves, and what the pipeline adds to the forward passes alone.

OMP_NUM_THREADS=1 python -m tests.bench.bench_extract
"""

import json
import statistics
import tempfile
import time
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from zoo_cli import config, console
from zoo_cli.config import Source
from zoo_cli.images import decoding
from zoo_cli.models import loading
from zoo_cli.models.extraction import FeatureRunner
from zoo_cli.pipeline import extract
from zoo_cli.pipeline.extract_config import ExtractConfig
from zoo_cli.pipeline.part_maker import CPU_BATCH

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
RANDOM: dict[str, Any] = {"weights": "none", "mean": MEAN, "std": STD}
SMALL = [Source(f"small-{k}", "torchvision:squeezenet1_1", input_size=64, **RANDOM) for k in range(8)]
LARGE = [Source(f"large-{k}", "torchvision:resnet18", input_size=128, **RANDOM) for k in range(2)]


def draw_photos(folder: Path, count: int, side: int) -> None:
    """Write photograph-like JPEG files: smooth colours and some texture."""
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (side // 16, side // 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), dtype=np.int16)
        noisy = np.clip(smooth + rng.integers(-12, 13, smooth.shape), 0, 255).astype(np.uint8)
        place = folder / "images" / f"class-{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy).save(place / f"{number:04}.jpg", quality=90)


def time_extraction(settings: config.Config, sources: list[Source], together: bool) -> float:
    """Seconds of an extraction from scratch, including the loading of the models."""
    start = time.perf_counter()
    for group in [sources] if together else [[source] for source in sources]:
        extract.extract(settings, group, ExtractConfig(device="cpu", workers=2, overwrite=True))
    return time.perf_counter() - start


def time_forward(settings: config.Config, sources: list[Source], count: int) -> float:
    """Seconds of the forward passes alone, summed, on images in memory."""
    total = 0.0
    for source in sources:
        model = loading.load_model(source, settings.root)
        runner = FeatureRunner(model, torch.device("cpu"), "fp32")
        side = decoding.view_geometry(model.preprocessing).side
        images = torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8)
        start = time.perf_counter()
        for batch in images.split(CPU_BATCH):
            runner(batch)
        total += time.perf_counter() - start
    return total


def measure(count: int = 400, rounds: int = 5) -> dict[str, float]:
    """The median over rounds of both ratios."""
    with tempfile.TemporaryDirectory() as name, console.use(console.Console(StringIO(), StringIO())):
        folder = Path(name)
        jpeg, tiny = folder / "jpeg", folder / "tiny"
        draw_photos(jpeg, count, 400)
        draw_photos(tiny, count, 32)
        gains, costs = [], []
        for where in (jpeg, tiny):
            (where / "zoo.toml").write_text('[task]\ntrain = "folder:images"\nname = "bench"\n')
        slow, quick = config.load(jpeg), config.load(tiny)
        for _ in range(rounds):
            apart = time_extraction(slow, SMALL, together=False)
            gains.append(apart / time_extraction(slow, SMALL, together=True))
            alone = time_forward(quick, LARGE, count)
            costs.append(time_extraction(quick, LARGE, together=True) / alone)
    return {
        "8 sources one after the other / together (400 px JPEG, squeezenet at 64 px)": statistics.median(gains),
        "extraction / summed forward time (32 px JPEG, resnet18 at 128 px)": statistics.median(costs),
    }


@pytest.mark.bench
def test_extraction_ratios_are_measured() -> None:
    assert measure(count=64, rounds=1)


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
