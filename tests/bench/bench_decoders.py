"""Pillow against torchvision's JPEG decoder with torch's antialiased resize of uint8; checking images by their headers.

Both read the header as `decoding` does, pass its memory gate and give one batch array, as sources get it. The JPEG
bytes are in memory; forms are taken in turns. OMP_NUM_THREADS=1 python -m tests.bench.bench_decoders
"""

import io
import json
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
import torchvision
from PIL import features
from torch import Tensor
from torch.nn import functional
from torchvision.io import ImageReadMode, decode_jpeg

from tests.bench import interleaved
from tests.bench.bench_extract import draw_photos
from zoo_cli.config import Preprocessing
from zoo_cli.images import decoding, headers, memory_gate
from zoo_cli.images.decoding import Geometry

MEAN = (0.5, 0.5, 0.5)
VIEWS = {"32": Preprocessing(32, MEAN, MEAN), "224 of 256": Preprocessing(224, MEAN, MEAN, resize=256)}
COUNTS = {32: 200, 224: 40, 400: 20, 1000: 8}
"""Images by the pixels of a side."""
BLOCKS = 15


def make_pillow_batch(images: Sequence[bytes], geometry: Geometry) -> np.ndarray:
    """The views (N, H, W, 3) as `load_views` makes them."""
    views = []
    for data in images:
        with decoding.open_decoded(data) as image:
            views.append(decoding.make_view(image, geometry))
    return np.stack(views)


def make_torchvision_batch(images: Sequence[bytes], geometry: Geometry) -> np.ndarray:
    """The same views by torchvision's decoder, after the same checks of the header; planes are put in order once."""
    views = []
    for data in images:
        header, _, size = decoding.open_checked(io.BytesIO(data), decoding.MAX_PIXELS)
        memory_gate.GATE.enter(size)
        assert decoding.read_orientation(header) == 1, "the photos of this measurement are upright"
        pixels = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB)
        views.append(_resize(pixels, geometry))
        memory_gate.GATE.leave(size)
    return torch.stack(views).permute(0, 2, 3, 1).contiguous().numpy()


def _resize(pixels: Tensor, geometry: Geometry) -> Tensor:
    height, width = pixels.shape[1:]
    side, resize = geometry.side, geometry.resize
    wide, high = (side, side) if resize is None else _shape(width, height, resize)
    (view,) = functional.interpolate(pixels[None], (high, wide), mode="bilinear", antialias=True)
    left, top = decoding.centre_offset(wide, side), decoding.centre_offset(high, side)
    return view[:, top : top + side, left : left + side]


def _shape(width: int, height: int, resize: int) -> tuple[int, int]:
    if width <= height:
        return resize, int(resize * height / width)
    return int(resize * width / height), resize


def read_all(read: Callable[[bytes], object], images: Sequence[bytes]) -> Callable[[], None]:
    """Read every image."""

    def work() -> None:
        for data in images:
            read(data)

    return work


def measure() -> dict[str, Any]:
    """Milliseconds an image of each form, and the ratios: above 1, the second form is faster."""
    results: dict[str, Any] = {}
    cpu = torch.device("cpu")
    for side, count in COUNTS.items():
        with tempfile.TemporaryDirectory() as name:
            draw_photos(Path(name), count, side)
            images = [path.read_bytes() for path in sorted(Path(name).rglob("*.jpg"))]
        for label, preprocessing in VIEWS.items():
            geometry = decoding.view_geometry(preprocessing)
            forms: dict[str, Callable[[], np.ndarray]] = {
                "pillow": lambda images=images, geometry=geometry: make_pillow_batch(images, geometry),
                "torchvision": lambda images=images, geometry=geometry: make_torchvision_batch(images, geometry),
            }
            levels = np.abs(np.subtract(*(form().astype(np.int16) for form in forms.values()))).max()
            times = interleaved.milliseconds(forms, cpu, BLOCKS, 1)
            results[f"{side} px to {label}"] = _line(times, count) | {"levels": int(levels)}
        checks = {
            "decode": read_all(decoding.image_info, images),
            "header": read_all(headers.header_info, images),
        }
        results[f"{side} px, check"] = _line(interleaved.milliseconds(checks, cpu, BLOCKS, 1), count)
    return results


def _line(times: dict[str, list[float]], count: int) -> dict[str, Any]:
    first, second = times.values()
    means = {name: round(value / count, 3) for name, value in interleaved.summary(times).items()}
    return means | {"ratio": interleaved.ratio(first, second)}


if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)  # that torchvision's decoders will be removed
    versions = {"pillow": PIL.__version__, "libjpeg": features.version("libjpeg_turbo")}
    versions["torchvision"] = torchvision.__version__
    torch.set_num_threads(1)
    print(json.dumps(interleaved.machine(torch.device("cpu")) | versions | measure(), indent=2))
