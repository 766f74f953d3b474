"""The training images of a command, decoded once for all of its runs."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from zoo_cli import console, devices

if TYPE_CHECKING:
    import numpy as np
    import torch

    from zoo_cli.config import Preprocessing
    from zoo_cli.images.pixel_cache import PixelCache
    from zoo_cli.store.manifest import Images


class ImageCache:
    """Rows of the manifest as pixels on the device, one decoding for each preprocessing that students ask for.

    `judges`: those of the images by which several students are judged. They are kept apart, so that training has its
    own in memory where there is no room for both.
    """

    judges: "ImageCache | None" = None

    def __init__(self, images: "Images", rows: "np.ndarray", device: "torch.device", workers: int | None):
        self.images = images
        self.rows = rows
        self.device = device
        self.workers = devices.workers(workers)
        self._caches: dict[Preprocessing, PixelCache] = {}

    def cache(self, said: "Preprocessing") -> "PixelCache":
        """The pixels of all rows (in ascending order) as a network of this preprocessing trains on them."""
        from zoo_cli.images.pixel_cache import PixelCache

        if said in self._caches:
            return self._caches[said]
        with console.Progress("decode", len(self.rows), "img") as progress:
            cache = PixelCache(
                [self.images.getter(row) for row in self.rows],
                said,
                self.device,
                self.workers,
                progress=lambda _done, _total: progress.advance(1),
                ids=[str(name) for name in self.images.ids[self.rows]],
            )
        if cache.place == "stream":
            size = f"{cache.bytes / 1e9:.1f} GB"
            console.say(f"{size} of images do not fit in memory: they are decoded as they are needed")
        self._caches[said] = cache
        return cache

    def holding(self, rows: "np.ndarray") -> "ImageCache | None":
        """The one of the two that holds all of these rows, if one does."""
        import numpy as np

        both = [self] if self.judges is None else [self, self.judges]
        return next((one for one in both if np.isin(rows, one.rows).all()), None)

    def places(self, rows: "np.ndarray") -> "torch.Tensor":
        """Where rows of the manifest stand among the rows held here: int64 (M,)."""
        import numpy as np
        import torch

        return torch.from_numpy(np.searchsorted(self.rows, rows))

    def clean(self, said: "Preprocessing", rows: "np.ndarray", count: int) -> "Iterator[torch.Tensor]":
        """The evaluation views of rows, `count` at a time, in their order."""
        import torch

        from zoo_cli.images import augmentation

        cache = self.cache(said)
        for places in torch.split(self.places(rows), count):
            yield augmentation.evaluation_view(cache.batch(places), said.input_size, said.mean, said.std)
