"""The images of a training command, decoded once for all of its runs."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from zoo_cli import console, devices, free_memory
from zoo_cli.config import Preprocessing
from zoo_cli.errors import ParameterError
from zoo_cli.images import augmentation
from zoo_cli.images.pixel_cache import PixelCache
from zoo_cli.progress import Progress
from zoo_cli.store.manifest import Images
from zoo_cli.store.view_set import ViewSet
from zoo_cli.training.training_config import ImagePlace


class ImageCache:
    """Rows (N,) of the manifest, ascending, as pixels on the device: one decoding for each preprocessing.

    `predicted`: a second cache of the images that several students predict, so that the training images stay in memory
    if both do not fit.

    `place`: where the images are kept; "auto" is the GPU, if they fit there beside what training needs, else RAM, else
    "stream". Raises ParameterError for "gpu" without one.
    """

    def __init__(
        self,
        images: Images,
        rows: np.ndarray,
        device: torch.device,
        workers: int | None,
        predicted: "ImageCache | None" = None,
        place: ImagePlace = "auto",
    ):
        if place == "gpu" and device.type != "cuda":
            raise ParameterError(f"`images` gpu: training is on {device.type}", "set `images` auto")
        self.images = images
        self.rows = rows
        self.device = device
        self.workers = devices.workers(workers)
        self.predicted = predicted
        self.place = place
        self._reserved: int | None = None
        self._has_left = False
        self._pixels: dict[tuple[Preprocessing, bytes, ViewSet | None], PixelCache] = {}

    def pixels(self, preprocessing: Preprocessing) -> PixelCache:
        """The pixels of all rows, in their order, for a network of this preprocessing."""
        return self.pixels_of(preprocessing, self.rows)

    def pixels_of(self, preprocessing: Preprocessing, rows: np.ndarray, views: ViewSet | None = None) -> PixelCache:
        """The pixels of some rows (M,), in their order, or their stored augmented views."""
        key = (preprocessing, rows.tobytes(), views)
        if key in self._pixels:
            return self._pixels[key]
        with Progress("decode", len(rows), "images") as progress:
            pixels = PixelCache(
                [self.images.getter(row) for row in rows],
                preprocessing,
                self.device,
                self.workers,
                progress=lambda _done, _total: progress.advance(1),
                ids=[str(name) for name in self.images.ids[rows]],
                views=views,
                gpu_bytes=self.gpu_budget(),
                place=None if self.place == "auto" else self.place,
            )
        size = f"{pixels.bytes / 1e9:.1f} GB of images"
        if pixels.place == "stream" and self.place == "auto":
            console.say(f"{size} do not fit in memory: they are decoded again for every batch")
        elif pixels.place == "memory" and self.place == "auto" and self.device.type == "cuda":
            console.say(f"{size} are kept in RAM: they do not fit on the GPU beside what training needs")
        self._pixels[key] = pixels
        return pixels

    @property
    def needs_reserve(self) -> bool:
        """Whether "auto" has yet to know, by `reserve`, what training needs."""
        return self.place == "auto" and self.device.type == "cuda" and self._reserved is None

    def reserve(self, size: int) -> None:
        """Leave so many bytes of the GPU's memory free, here and in `predicted`."""
        for cache in self._caches():
            cache._reserved = size

    def gpu_budget(self) -> int:
        """The bytes that images and stored values may still take on the GPU; half of what is free if none is reserved.

        0 without a GPU, and after they have left it.
        """
        if self.device.type != "cuda" or self._has_left:
            return 0
        free = free_memory.free_gpu_memory(self.device)
        return free // 2 if self._reserved is None else max(0, free - self._reserved)

    @property
    def can_leave_gpu(self) -> bool:
        """Whether "auto" has put images on the GPU."""
        return any(
            pixels.place == "gpu"
            for cache in self._caches()
            if cache.place == "auto"
            for pixels in cache._pixels.values()
        )

    def leave_gpu(self) -> None:
        """Move the images that "auto" has put on the GPU to RAM, for good."""
        for cache in self._caches():
            cache._has_left = True
            if cache.place == "auto":
                for pixels in cache._pixels.values():
                    pixels.leave_gpu()

    def _caches(self) -> list["ImageCache"]:
        return [self] if self.predicted is None else [self, self.predicted]

    def holding(self, rows: np.ndarray) -> "ImageCache | None":
        """This cache or `predicted`, whichever holds all of these rows; None if neither does."""
        return next((cache for cache in self._caches() if np.isin(rows, cache.rows).all()), None)

    def positions(self, rows: np.ndarray) -> Tensor:
        """The positions (M,), int64, of rows (M,) of the manifest in this cache."""
        return torch.from_numpy(np.searchsorted(self.rows, rows))

    def evaluation_views(self, preprocessing: Preprocessing, rows: np.ndarray, batch_size: int) -> Iterator[Tensor]:
        """The evaluation views (B, C, H, W) of rows, in their order."""
        pixels = self.pixels(preprocessing)
        for positions in torch.split(self.positions(rows), batch_size):
            yield augmentation.evaluation_view(
                pixels.batch(positions), preprocessing.input_size, preprocessing.mean, preprocessing.std
            )
