"""Training images, decoded once where memory allows: on the GPU, else in RAM, else decoded again for every batch."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from zoo_cli.config import Preprocessing
from zoo_cli.errors import ContractError
from zoo_cli.images.decoding import BadImage, Geometry, Getter, load_views, view_geometry

CHUNK = 256  # images on their way to a GPU
Progress = Callable[[int, int], None]
Place = Literal["gpu", "memory", "stream"]


def cache_geometry(preprocessing: Preprocessing) -> Geometry:
    """The view that is kept of an image from which training crops are taken.

    With `resize`, the shorter side becomes `resize` and the square of that side around the centre is kept, so that
    crops have room; `augmentation.evaluation_view` of it is exactly the model's own view. Without it, the whole image
    at `input_size` squared.
    """
    shape = view_geometry(preprocessing)
    return shape._replace(kept=max(shape.input_size, preprocessing.resize or 0))


class PixelCache:
    """N images as uint8, in the order of `items`; `batch` gives the same bytes wherever they are kept.

    `place` is "gpu" (they fill at most half of its free memory), "memory" (at most `budget_bytes`, by default half of
    the free RAM) or "stream". `progress(done, total)` is called for every image while they are read into memory.
    Raises ContractError for an image that cannot be decoded: the manifest lists none, so a file has changed. `ids`
    name images in that message.
    """

    def __init__(
        self,
        items: Sequence[Getter],
        preprocessing: Preprocessing,
        device: torch.device | str,
        workers: int,
        budget_bytes: int | None = None,
        progress: Progress | None = None,
        ids: Sequence[str] = (),
    ):
        self.items = items
        self.geometry = cache_geometry(preprocessing)
        self.device = torch.device(device)
        self.workers = workers
        self.ids = ids
        side = self.geometry.kept
        self.shape = (len(items), self.geometry.channels, side, side)
        self.bytes = len(items) * self.geometry.channels * side * side
        self.place = self._fitting(_half_of_free_memory() if budget_bytes is None else budget_bytes)
        self.images: Tensor | None = None
        if self.place != "stream":
            self.images = torch.empty(
                self.shape, dtype=torch.uint8, device=self.device if self.place == "gpu" else "cpu"
            )
            self._fill(self.images, progress)

    def batch(self, indices: Tensor) -> Tensor:
        """The images at these positions (int64, B): uint8 (B, C, H, W) on the device."""
        if self.images is None:
            wanted = indices.tolist()
            found = torch.empty((len(wanted), *self.shape[1:]), dtype=torch.uint8)
            getters = (self.items[position] for position in wanted)
            for place, pixels in self._views(getters, wanted):
                found[place] = pixels
        else:
            found = self.images[indices.to(self.images.device)]
        if self.device.type == "cuda" and found.device.type == "cpu":
            return found.pin_memory().to(self.device, non_blocking=True)
        return found.to(self.device)

    def _fill(self, images: Tensor, progress: Progress | None) -> None:
        chunk = torch.empty((min(CHUNK, len(self.items)), *self.shape[1:]), dtype=torch.uint8)
        begin = 0
        for place, pixels in self._views(self.items, range(len(self.items))):
            chunk[place - begin] = pixels
            if place + 1 - begin == len(chunk) or place + 1 == len(self.items):
                images[begin : place + 1] = chunk[: place + 1 - begin].to(images.device)
                begin = place + 1
            if progress:
                progress(place + 1, len(self.items))

    def _views(self, getters: Iterable[Getter], positions: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        for place, found in load_views(getters, [self.geometry], self.workers):
            if isinstance(found, BadImage):
                position = positions[place]
                name = self.ids[position] if self.ids else f"image {position}"
                raise ContractError(f"{name}: {found}", "it was sound when zoo split read it: make the manifest again")
            pixels = np.ascontiguousarray(found[self.geometry].transpose(2, 0, 1))
            yield place, torch.from_numpy(pixels)

    def _fitting(self, budget: int) -> Place:
        if self.device.type == "cuda" and self.bytes <= torch.cuda.mem_get_info(self.device)[0] // 2:
            return "gpu"
        return "memory" if self.bytes <= budget else "stream"


def _half_of_free_memory() -> int:
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
