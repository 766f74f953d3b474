"""Training images, decoded once if memory allows: kept on the GPU, else in RAM, else decoded again for every batch.

The images as a network's own preprocessing frames them, or V stored augmented views of each.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from zoo_cli import free_memory, ranks
from zoo_cli.config import Preprocessing
from zoo_cli.errors import ContractError, ParameterError
from zoo_cli.images.augmented_views import load_augmented_views, whole_geometry
from zoo_cli.images.decoding import BadImage, Geometry, Getter, load_views, view_geometry
from zoo_cli.images.packed_copy import empty_pinned, move_together
from zoo_cli.store.view_set import ViewSet

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

    `place` is "gpu" (they fit into `gpu_bytes`, by default half of its free memory), "memory" (at most `budget_bytes`,
    by default half of the free RAM) or "stream" (decoded again for every batch), or as required. `progress(done,
    total)` is called for every image while the cache is filled. `ids` (N) name the images in error messages, and their
    views.

    With `views`, the V stored views of each image instead, of which `batch` gives one each.

    Raises ContractError for an image that cannot be decoded: the manifest lists only images that decode, so its file
    has changed. Raises ParameterError for images that do not fit in the required place.
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
        views: ViewSet | None = None,
        *,
        gpu_bytes: int | None = None,
        place: Place | None = None,
    ):
        self.items = items
        self.views = views
        self.geometry = cache_geometry(preprocessing) if views is None else whole_geometry(preprocessing)
        self.device = torch.device(device)
        self.workers = workers
        self.ids = ids
        side = self.geometry.side
        self.image_shape = (self.geometry.channels, side, side)
        self.shape = (len(items), *(() if views is None else (views.count,)), *self.image_shape)
        self.bytes = math.prod(self.shape)
        self.budget_bytes = budget_bytes
        self.place: Place = self._choose_place(gpu_bytes) if place is None else place
        if place is not None:
            self._check_fits()
        self.images: Tensor | None = None
        if self.place != "stream":
            self.images = torch.empty(self.shape, dtype=torch.uint8, device=self.index_device)
            self._fill(self.images, progress)

    @property
    def index_device(self) -> torch.device:
        """Where the images are, and where `batch` reads their positions without a copy."""
        return self.device if self.place == "gpu" else torch.device("cpu")

    def batch(self, indices: Tensor, view: Tensor | None = None) -> Tensor:
        """The images at positions `indices` (int64, B): uint8 (B, C, H, W) on the cache's device.

        `view` (int64, B): which of the V views of each, in a cache of views. A GPU is not waited for: it copies from
        pinned memory. That is also true of indices on the CPU while the images are on the GPU.
        """
        if self.place == "gpu" and indices.device.type == "cpu":
            moved = move_together({"indices": indices} | ({} if view is None else {"view": view}), self.device)
            indices, view = moved["indices"], moved.get("view")
        if self.images is None:
            positions = indices.tolist()
            images = self._empty(len(positions))
            for row, pixels in self._decode(positions, None if view is None else view.tolist()):
                images[row] = pixels if view is None else pixels[0]
            return images.to(self.device, non_blocking=True)
        # Not by an index in brackets, which copies pixel by pixel on a CPU: 7 times slower.
        images = self.images if view is None else self.images.flatten(0, 1)
        rows = indices if view is None else indices * self.shape[1] + view
        if self.place == "gpu" or self.device.type != "cuda":
            return images.index_select(0, rows).to(self.device)
        return torch.index_select(images, 0, rows, out=self._empty(len(rows))).to(self.device, non_blocking=True)

    def leave_gpu(self) -> None:
        """Move images from the GPU to RAM; if they do not fit there, they are decoded for every batch."""
        if self.place == "gpu" and self.images is not None:
            self.place = self._choose_place(gpu_bytes=0)
            self.images = self.images.cpu() if self.place == "memory" else None

    def _empty(self, count: int) -> Tensor:
        """RAM for a batch, pinned if it goes to a GPU."""
        if self.device.type == "cuda":
            return empty_pinned((count, *self.image_shape), torch.uint8)
        return torch.empty((count, *self.image_shape), dtype=torch.uint8)

    def _fill(self, images: Tensor, progress: Progress | None) -> None:
        size = CHUNK if self.views is None else max(1, CHUNK // self.views.count)
        chunk = torch.empty((min(size, len(self.items)), *self.shape[1:]), dtype=torch.uint8)
        begin = 0
        for row, pixels in self._decode(range(len(self.items))):
            chunk[row - begin] = pixels
            if row + 1 - begin == len(chunk) or row + 1 == len(self.items):
                images[begin : row + 1] = chunk[: row + 1 - begin].to(images.device)
                begin = row + 1
            if progress:
                progress(row + 1, len(self.items))

    def _decode(self, positions: Sequence[int], view: Sequence[int] | None = None) -> Iterator[tuple[int, Tensor]]:
        """The pixels (C, H, W) of images, or (V, C, H, W) of all their views, or (1, C, H, W) of one view each."""
        getters = (self.items[position] for position in positions)
        if self.views is None:
            loaded = load_views(getters, [self.geometry], self.workers)
        else:
            requested = ([each] for each in view) if view else repeat(range(self.views.count))
            ids = (self.ids[position] for position in positions)
            loaded = load_augmented_views(
                zip(getters, ids, requested, strict=False), self.views, [self.geometry], self.workers
            )
        for row, views in loaded:
            if isinstance(views, BadImage):
                position = positions[row]
                name = self.ids[position] if self.ids else f"image {position}"
                raise ContractError(f"{name}: {views}", "zoo split --overwrite leaves it out")
            pixels = np.ascontiguousarray(np.moveaxis(views[self.geometry], -1, -3))
            yield row, torch.from_numpy(pixels)

    def _choose_place(self, gpu_bytes: int | None) -> Place:
        if self.device.type == "cuda" and gpu_bytes is None:
            gpu_bytes = free_memory.free_gpu_memory(self.device) // 2
        if self.device.type == "cuda" and self.bytes <= (gpu_bytes or 0):
            return "gpu"
        return "memory" if self.bytes <= self._ram_budget() else "stream"

    def _ram_budget(self) -> int:
        # The processes of a job that share a machine fill their caches at the same time.
        free = free_memory.free_ram() // 2 // ranks.local_world_size()
        return free if self.budget_bytes is None else self.budget_bytes

    def _check_fits(self) -> None:
        """Raise ParameterError if the images do not fit in the place that was required."""
        if self.place == "stream":
            return
        free = free_memory.free_gpu_memory(self.device) if self.place == "gpu" else free_memory.free_ram()
        if self.bytes > free:
            where = f"on {self.device}" if self.place == "gpu" else "in RAM"
            raise ParameterError(
                f"`images` {self.place}: they take {self.bytes / 1e9:.1f} GB, {free / 1e9:.1f} GB are free {where}",
                "set `images` auto, or stream",
            )
