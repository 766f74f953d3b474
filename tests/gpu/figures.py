"""How fast a card trains: beside the model alone, and beside the targets of the benchmarks."""

import io
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from PIL import Image

from tests.bench.bench_step import _student
from tests.gpu.finding import Finding, Setting
from zoo_cli.config import Preprocessing
from zoo_cli.images.pixel_cache import PixelCache
from zoo_cli.objectives.supervised import Batch, Supervised
from zoo_cli.training import batches, loop
from zoo_cli.training.training_config import LoopOptions

CLASSES = 20
MODELS = ("mobilenet_v3_large", "resnet18")
KINDS = ("none", "crop", "affine", "rand")


class _Images:
    """Labels of images that are in no manifest."""

    def __init__(self, count: int):
        self.labels = np.arange(count) % CLASSES


class _Cache:
    """The cache of a training command, filled from memory: a few JPEG files, repeated."""

    def __init__(self, count: int, preprocessing: Preprocessing, device: torch.device):
        random = np.random.default_rng(0)
        encoded = []
        for _ in range(min(count, 64)):
            side = preprocessing.resize or preprocessing.input_size
            stream = io.BytesIO()
            Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(stream, "JPEG")
            encoded.append(stream.getvalue())
        getters = [partial(encoded.__getitem__, row % len(encoded)) for row in range(count)]
        self.device = device
        self.rows = np.arange(count)
        self.images = _Images(count)
        self._pixels = PixelCache(getters, preprocessing, device, workers=8)

    def pixels(self, _: Preprocessing) -> PixelCache:
        return self._pixels

    def positions(self, rows: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.searchsorted(self.rows, rows))


class _Streams:
    """All images labelled."""

    seed = 0

    def __init__(self, count: int, size: int):
        self.labelled = self.rows = np.arange(count)
        self.unlabelled = np.zeros(0, np.int64)
        self.batch_sizes = (size, 0)


def rates(setting: Setting) -> Iterator[Finding]:
    """Images a second of the loop with batches made for it, and of the model alone on one batch."""
    size, counts, steps = (32, (8,), 6) if setting.small else (224, (128, 256, 512), 60)
    preprocessing = Preprocessing(size, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), resize=size * 8 // 7)
    cache = _Cache(64 if setting.small else 8192, preprocessing, setting.device)
    precision = "bf16" if setting.is_card else "fp32"
    options = LoopOptions(steps=steps, lr=0.0, precision=precision, checkpoint_every=0, log_every=0)
    for model in MODELS[:1] if setting.small else MODELS:
        for rows in counts:
            streams = _Streams(len(cache.rows), rows)

            def batch_fn(kind: str, streams: _Streams = streams) -> Callable[[int], Batch]:
                return batches.make_batch_fn(cache, streams, preprocessing, kind)  # type: ignore[arg-type]

            order = torch.channels_last if setting.is_card else torch.preserve_format
            fixed = batch_fn("none")(0).to(setting.device, order)
            forms = {"model alone": (lambda _, batch=fixed: batch, False)}
            forms |= {kind: (batch_fn(kind), False) for kind in KINDS}
            if setting.is_card:
                forms |= {f"{kind}, --compile graph": (batch_fn(kind), True) for kind in KINDS}
            alone = 0.0
            for form, (make_batch, graph) in forms.items():
                milliseconds = _milliseconds(model, size, make_batch, options, setting, graph=graph)
                alone = alone or milliseconds
                yield {"student": model, "rows": rows, "what": form, **_describe(milliseconds, rows, alone)}
            if setting.is_card:
                peak = torch.cuda.max_memory_allocated(setting.device) / 1e9
                yield {"student": model, "rows": rows, "peak memory in GB": round(peak, 2)}
                torch.cuda.reset_peak_memory_stats(setting.device)


def benchmarks(setting: Setting) -> Iterator[Finding]:
    """The benchmarks with their targets, each in a process of its own."""
    for name in ("bench_step", "bench_heads", "bench_objectives"):
        if setting.small and name != "bench_heads":
            continue
        yield {"bench": name, **setting.run_python("-m", f"tests.bench.{name}", setting.device.type, most=120)}


def _milliseconds(
    model: str, size: int, batch_fn: Callable[[int], Batch], options: LoopOptions, setting: Setting, *, graph: bool
) -> float:
    """The median milliseconds of a step, over three runs of the training loop without its first steps."""
    first = options.steps // 3
    times = []
    for _ in range(3):
        start, done = 0.0, 0

        def should_stop() -> bool:
            nonlocal start, done
            done += 1
            if done == first:
                _synchronise(setting)
                start = time.perf_counter()
            return False

        loop.train(
            _student(model, size, CLASSES),
            Supervised(),
            batch_fn,
            options,
            device=setting.device,
            seed=0,
            save=lambda _state: None,
            log=lambda _row: None,
            should_stop=should_stop,
            graph=graph,
        )
        _synchronise(setting)
        times.append((time.perf_counter() - start) / (options.steps - first) * 1e3)
    return statistics.median(times)


def _describe(milliseconds: float, rows: int, alone: float) -> Finding:
    return {
        "milliseconds": round(milliseconds, 3),
        "images a second": round(rows / milliseconds * 1e3),
        "of model alone": round(alone / milliseconds, 3),
    }


def _synchronise(setting: Setting) -> None:
    if setting.is_card:
        torch.cuda.synchronize(setting.device)
