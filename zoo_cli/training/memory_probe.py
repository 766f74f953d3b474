"""The memory that training needs on a GPU, measured before the images take the rest."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from zoo_cli.config import Preprocessing
from zoo_cli.images.pixel_cache import PixelCache
from zoo_cli.models.student import Student
from zoo_cli.objectives.supervised import Batch, Objective
from zoo_cli.store.view_set import ViewSet
from zoo_cli.training import loop
from zoo_cli.training.batches_ahead import AHEAD
from zoo_cli.training.image_cache import ImageCache
from zoo_cli.training.step_graph import WARM_UP
from zoo_cli.training.training_config import LoopOptions

STEPS = AHEAD + 1
"""As many as there are batches on the GPU at once."""
MARGIN = 1.3
"""Reserved over measured memory: for fragments, and steps that take more than the first."""


class RandomImages(ImageCache):
    """A cache in the place of another, whose images are noise of their shape: nothing is decoded or kept."""

    def __init__(self, cache: ImageCache):
        super().__init__(cache.images, cache.rows, cache.device, cache.workers)

    def pixels_of(self, preprocessing: Preprocessing, rows: np.ndarray, views: ViewSet | None = None) -> PixelCache:
        """Noise in the shape of these rows (M,), or of their views."""
        getters = [self.images.getter(row) for row in rows]
        return _RandomPixels(getters, preprocessing, self.device, self.workers, views=views, place="stream")

    def gpu_budget(self) -> int:
        """0: stored values stay in RAM, too."""
        return 0


class _RandomPixels(PixelCache):
    def _decode(self, positions: Sequence[int], view: Sequence[int] | None = None) -> Iterator[tuple[int, Tensor]]:
        shape = self.image_shape if view is None else (1, *self.image_shape)
        noise = torch.Generator().manual_seed(0)
        for row in range(len(positions)):
            yield row, torch.randint(0, 256, shape, dtype=torch.uint8, generator=noise)


def measure_training_memory(
    student: Student,
    objective: Objective,
    batch_fn: Callable[[int], Batch],
    options: LoopOptions,
    device: torch.device,
    *,
    graph: bool,
) -> int:
    """The bytes of a GPU to leave free for training: the most that a few steps take, with a margin.

    The steps are taken by copies of student and objective, beside all batches that are there at once; a batch can be
    made at the same time. `graph`: as a CUDA graph, which has memory of its own.
    """
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    batches = [batch_fn(step).to(device, torch.channels_last) for step in range(STEPS)]
    making = torch.cuda.max_memory_allocated(device) - torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    with suppress(loop.NonFinite):  # which says nothing about the images themselves
        loop.train(
            copy.deepcopy(student),
            copy.deepcopy(objective),
            lambda step: batches[step % STEPS],
            replace(options, steps=WARM_UP + 1 if graph else STEPS, warmup=0, lr=0.0, log_every=0, checkpoint_every=0),
            device=device,
            seed=0,
            save=lambda _state: None,
            log=lambda _row: None,
            should_stop=lambda: False,
            graph=graph,
        )
    training = torch.cuda.max_memory_allocated(device) - before
    batches.clear()
    torch.cuda.empty_cache()
    return round(MARGIN * (making + training))
