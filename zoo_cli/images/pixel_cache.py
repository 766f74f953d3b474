"""Training images, decoded once if memory allows: kept on the GPU, else in RAM, else decoded again for every batch."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from zoo_cli.config import Preprocessing
from zoo_cli.errors import ContractError
from zoo_cli.images.decoding import BadImage, Geometry, Getter, load_views, view_geometry

CHUNK = 256  # images copied to the GPU at a time
Progress = Callable[[int, int], None]
Place = Literal["gpu", "memory", "stream"]


def cache_geometry(preprocessing: Preprocessing) -> Geometry:
    """The view of an image that is cached for training crops.

    With `resize`, the shorter side becomes `resize` and the square of that side around the centre is kept, so that
    crops have room; `augmentation.evaluation_view` of it is exactly the model's own view. Without `resize`, the whole
    image at `input_size` squared.
    """
    geometry = view_geometry(preprocessing)
    return geometry._replace(side=max(geometry.input_size, preprocessing.resize or 0))


class PixelCache:
    """N images as uint8, in the order of `items`; `batch` gives the same bytes wherever they are kept.

    `place` is "gpu" (they fill at most half of its free memory), "memory" (at most `budget_bytes`, by default half of
    the free RAM) or "stream" (decoded again for every batch). `progress(done, total)` is called for every image while
    the cache is filled. `ids` (N) name the images in error messages.

    Raises ContractError for an image that cannot be decoded: the manifest lists only images that decode, so its file
    has changed.
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
        side = self.geometry.side
        self.shape = (len(items), self.geometry.channels, side, side)
        self.bytes = len(items) * self.geometry.channels * side * side
        self.place = self._choose_place(_half_of_free_memory() if budget_bytes is None else budget_bytes)
        self.images: Tensor | None = None
        if self.place != "stream":
            self.images = torch.empty(
                self.shape, dtype=torch.uint8, device=self.device if self.place == "gpu" else "cpu"
            )
            self._fill(self.images, progress)

    def batch(self, indices: Tensor) -> Tensor:
        """The images at positions `indices` (int64, B): uint8 (B, C, H, W) on the cache's device."""
        if self.images is None:
            positions = indices.tolist()
            images = torch.empty((len(positions), *self.shape[1:]), dtype=torch.uint8)
            getters = (self.items[position] for position in positions)
            for row, pixels in self._decode(getters, positions):
                images[row] = pixels
        else:
            images = self.images[indices.to(self.images.device)]
        if self.device.type == "cuda" and images.device.type == "cpu":
            return images.pin_memory().to(self.device, non_blocking=True)
        return images.to(self.device)

    def _fill(self, images: Tensor, progress: Progress | None) -> None:
        chunk = torch.empty((min(CHUNK, len(self.items)), *self.shape[1:]), dtype=torch.uint8)
        begin = 0
        for row, pixels in self._decode(self.items, range(len(self.items))):
            chunk[row - begin] = pixels
            if row + 1 - begin == len(chunk) or row + 1 == len(self.items):
                images[begin : row + 1] = chunk[: row + 1 - begin].to(images.device)
                begin = row + 1
            if progress:
                progress(row + 1, len(self.items))

    def _decode(self, getters: Iterable[Getter], positions: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        for row, views in load_views(getters, [self.geometry], self.workers):
            if isinstance(views, BadImage):
                position = positions[row]
                name = self.ids[position] if self.ids else f"image {position}"
                raise ContractError(f"{name}: {views}", "it decoded in zoo split: make the manifest again")
            pixels = np.ascontiguousarray(views[self.geometry].transpose(2, 0, 1))
            yield row, torch.from_numpy(pixels)

    def _choose_place(self, budget: int) -> Place:
        if self.device.type == "cuda" and self.bytes <= torch.cuda.mem_get_info(self.device)[0] // 2:
            return "gpu"
        return "memory" if self.bytes <= budget else "stream"


def _half_of_free_memory() -> int:
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
