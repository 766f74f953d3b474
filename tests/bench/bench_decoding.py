"""Decoding in two threads: the time of an image in `load_views` and in `image_info`, for small and larger JPEG files.

To compare two versions, run it in both trees in turns: OMP_NUM_THREADS=1 python -m tests.bench.bench_decoding
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench.bench_extract import draw_photos
from zoo_cli.config import Preprocessing
from zoo_cli.images import decoding
from zoo_cli.images.in_order import map_in_order

MEAN = (0.5, 0.5, 0.5)
SIZES = {32: (2000, Preprocessing(32, MEAN, MEAN)), 400: (300, Preprocessing(224, MEAN, MEAN, resize=256))}
WORKERS = 2


def milliseconds(work: Callable[[], Iterator[object]]) -> float:
    """Processor time of an item, in all threads."""
    begin = time.process_time()
    count = sum(1 for _ in work())
    return round((time.process_time() - begin) / count * 1e3, 3)


def measure() -> dict[str, float]:
    """Milliseconds an image, by what is done and the pixels of a side."""
    times = {}
    for side, (count, preprocessing) in SIZES.items():
        with tempfile.TemporaryDirectory() as name:
            draw_photos(Path(name), count, side)
            paths = sorted(Path(name).rglob("*.jpg"))
            geometry = decoding.view_geometry(preprocessing)
            getters = [path.read_bytes for path in paths]
            list(decoding.load_views(getters[:50], [geometry], WORKERS))
            times[f"views {side}"] = milliseconds(lambda: decoding.load_views(getters, [geometry], WORKERS))  # noqa: B023
            times[f"info {side}"] = milliseconds(lambda: map_in_order(decoding.image_info, paths, WORKERS))  # noqa: B023
    return times


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
