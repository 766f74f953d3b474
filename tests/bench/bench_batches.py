"""The making of training batches: 128 rows from images kept in RAM (on a GPU: there), by augmentation.

    OMP_NUM_THREADS=1 python -m tests.bench.bench_batches [cpu|cuda]    prints one JSON object

Half of the rows are labelled; "fixmatch" adds strong views of the others, with the augmentation "shift".
"""

import json
import sys
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from tests.bench import interleaved
from tests.data.encoded_images import encode, make_image
from zoo_cli.config import Preprocessing
from zoo_cli.images.augmentation import KINDS
from zoo_cli.images.pixel_cache import PixelCache
from zoo_cli.objectives.supervised import Batch
from zoo_cli.training.batches import make_batch_fn

ROWS = 128
IMAGES = 512
THIRD = (0.5, 0.4, 0.6)
SIZES = {64: 64, 224: 256}
"""The side of the views, and of the images they are made of."""


def measure(device: torch.device, size: int, blocks: int = 9, calls: int = 5) -> dict[str, Any]:
    """Milliseconds of one batch by augmentation."""
    forms = {kind: _make(device, size, kind) for kind in KINDS}
    forms["fixmatch"] = _make(device, size, "shift", strong_views=True)
    times = interleaved.milliseconds(forms, device, blocks, calls)
    return {
        **interleaved.machine(device),
        "pixels": size,
        "rows": ROWS,
        "milliseconds": interleaved.summary(times),
    }


def _make(device: torch.device, size: int, kind: str, *, strong_views: bool = False) -> Callable[[], Batch]:
    preprocessing = Preprocessing(size, THIRD, THIRD, resize=SIZES[size])
    items = [partial(encode, make_image(SIZES[size], SIZES[size], seed=number % 16)) for number in range(IMAGES)]
    rows = np.arange(IMAGES)
    pixels = PixelCache(items, preprocessing, device, 0)
    cache: Any = SimpleNamespace(
        images=SimpleNamespace(labels=rows % 20),
        rows=rows,
        device=device,
        gpu_budget=lambda: 2**40,
        pixels=lambda _: pixels,
        positions=torch.from_numpy,
    )
    streams: Any = SimpleNamespace(
        labelled=rows[::4], unlabelled=rows, rows=rows, seed=0, batch_sizes=(ROWS // 2, ROWS // 2)
    )
    batch_fn = make_batch_fn(cache, streams, preprocessing, kind, strong_views=strong_views)
    steps = iter(range(10**9))
    return lambda: batch_fn(next(steps)).to(device)


if __name__ == "__main__":
    where = torch.device(sys.argv[1] if len(sys.argv) > 1 else "cpu")
    print(json.dumps([measure(where, size) for size in SIZES]))
