"""The images of a training command, decoded once for all of its runs."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from zoo_cli import console, devices
from zoo_cli.config import Preprocessing
from zoo_cli.images import augmentation
from zoo_cli.images.pixel_cache import PixelCache
from zoo_cli.store.manifest import Images
from zoo_cli.store.view_set import ViewSet


class ImageCache:
    """Rows (N,) of the manifest, ascending, as pixels on the device: one decoding for each preprocessing.

    `predicted`: a second cache of the images that several students predict, so that the training images stay in memory
    if both do not fit.
    """

    def __init__(
        self,
        images: Images,
        rows: np.ndarray,
        device: torch.device,
        workers: int | None,
        predicted: "ImageCache | None" = None,
    ):
        self.images = images
        self.rows = rows
        self.device = device
        self.workers = devices.workers(workers)
        self.predicted = predicted
        self._pixels: dict[tuple[Preprocessing, bytes, ViewSet | None], PixelCache] = {}

    def pixels(self, preprocessing: Preprocessing) -> PixelCache:
        """The pixels of all rows, in their order, for a network of this preprocessing."""
        return self.pixels_of(preprocessing, self.rows)

    def pixels_of(self, preprocessing: Preprocessing, rows: np.ndarray, views: ViewSet | None = None) -> PixelCache:
        """The pixels of some rows (M,), in their order, or their stored augmented views."""
        key = (preprocessing, rows.tobytes(), views)
        if key in self._pixels:
            return self._pixels[key]
        with console.Progress("decode", len(rows), "images") as progress:
            pixels = PixelCache(
                [self.images.getter(row) for row in rows],
                preprocessing,
                self.device,
                self.workers,
                progress=lambda _done, _total: progress.advance(1),
                ids=[str(name) for name in self.images.ids[rows]],
                views=views,
            )
        if pixels.place == "stream":
            size = f"{pixels.bytes / 1e9:.1f} GB"
            console.say(f"{size} of images do not fit in memory: they are decoded again for every batch")
        self._pixels[key] = pixels
        return pixels

    def holding(self, rows: np.ndarray) -> "ImageCache | None":
        """This cache or `predicted`, whichever holds all of these rows; None if neither does."""
        caches = [self] if self.predicted is None else [self, self.predicted]
        return next((cache for cache in caches if np.isin(rows, cache.rows).all()), None)

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
