"""Batches of decoded images: each row of the manifest decoded once, for all the geometries that are needed of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from zoo_cli.images.decoding import BadImage, Geometry, load_views
from zoo_cli.store.manifest import Images


@dataclass(frozen=True)
class ViewBatch:
    """Decoded images: their rows (M,) of the manifest, and their pixels by geometry, uint8 (M, H, W, C)."""

    rows: np.ndarray
    views: dict[Geometry, np.ndarray]


def view_batches(
    images: Images,
    rows: Sequence[int],
    geometries: Sequence[Geometry],
    size: int,
    workers: int,
    on_bad: Callable[[int, BadImage], None],
    on_image: Callable[[], None] = lambda: None,
) -> Iterator[ViewBatch]:
    """Decode rows of the manifest in their order, `size` sound images a batch, in `workers` threads.

    `on_bad(row, error)` is called for an image that cannot be decoded, which is then left out unless it raises;
    `on_image()` after every image.
    """
    kept: list[int] = []
    stacks: dict[Geometry, list[np.ndarray]] = {geometry: [] for geometry in geometries}
    getters = (images.getter(row) for row in rows)
    for index, views in load_views(getters, list(geometries), workers):
        on_image()
        if isinstance(views, BadImage):
            on_bad(rows[index], views)
            continue
        kept.append(rows[index])
        for geometry in geometries:
            stacks[geometry].append(views[geometry])
        if len(kept) == size:
            yield _stack(kept, stacks)
            kept, stacks = [], {geometry: [] for geometry in geometries}
    if kept:
        yield _stack(kept, stacks)


def _stack(rows: list[int], stacks: dict[Geometry, list[np.ndarray]]) -> ViewBatch:
    views = {geometry: np.stack(stack) for geometry, stack in stacks.items()}
    return ViewBatch(np.array(rows, dtype=np.int64), views)
