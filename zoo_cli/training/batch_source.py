"""A batch function, and what it reads: how training decides to make batches ahead, and to make room on a GPU."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from zoo_cli import console
from zoo_cli.images.pixel_cache import PixelCache
from zoo_cli.objectives.supervised import Batch
from zoo_cli.training.image_cache import ImageCache
from zoo_cli.training.stored_rows import StoredRows


@dataclass(frozen=True)
class BatchSource:
    """The batch of a step, made by `make` from the pixels and stored rows listed, which belong to `cache`."""

    make: Callable[[int], Batch]
    cache: ImageCache
    pixels: Sequence[PixelCache]
    stored: Sequence[StoredRows]

    def __call__(self, step: int) -> Batch:
        return self.make(step)

    @property
    def decodes(self) -> bool:
        """Whether images are decoded for every batch."""
        return any(pixels.place == "stream" for pixels in self.pixels)

    @property
    def can_leave_gpu(self) -> bool:
        """Whether `leave_gpu` would free memory of the GPU."""
        return self.cache.can_leave_gpu or any(rows.on_gpu for rows in self.stored)

    def leave_gpu(self) -> None:
        """Move what was put on the GPU for speed alone to RAM; the batches stay the same."""
        console.warn("out of GPU memory: the images and targets kept there move to RAM, and training goes on")
        self.cache.leave_gpu()
        for rows in self.stored:
            rows.leave_gpu()
