"""Batches of decoded images that are in no manifest: read once, in order, a few hundred in memory at a time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo_cli.data.samples import Sample
from zoo_cli.images.decoding import BadImage, Geometry, Getter, load_views


@dataclass(frozen=True)
class NewImage:
    """An image without its bytes: its id, and its file if it has one, see `Sample.path`."""

    id: str
    path: str | None


@dataclass(frozen=True)
class SampleBatch:
    """Decoded images (M), and their pixels by geometry, uint8 (M, H, W, C)."""

    images: list[NewImage]
    views: dict[Geometry, np.ndarray]


def sample_batches(
    entries: Iterable[tuple[str, Sample]],
    root: Path,
    geometries: Sequence[Geometry],
    size: int,
    workers: int,
    on_bad: Callable[[NewImage, BadImage], None],
    on_image: Callable[[], None] = lambda: None,
) -> Iterator[SampleBatch]:
    """Decode samples, each with its id, in their order: `size` sound images a batch, in `workers` threads.

    `root`: to which the paths of samples are relative. `on_bad(image, error)` is called for an image that cannot be
    decoded, which is then left out; `on_image()` after every image. Distinct geometries only.
    """
    waiting: deque[NewImage] = deque()

    def getters() -> Iterator[Getter]:
        for name, sample in entries:
            waiting.append(NewImage(name, sample.path))
            yield _Encoded(sample, root, name)

    kept: list[NewImage] = []
    stacks: dict[Geometry, list[np.ndarray]] = {geometry: [] for geometry in geometries}
    for _, views in load_views(getters(), geometries, workers, size_of=_size):
        image = waiting.popleft()
        on_image()
        if isinstance(views, BadImage):
            on_bad(image, views)
            continue
        kept.append(image)
        for geometry, stack in stacks.items():
            stack.append(views[geometry])
        if len(kept) == size:
            yield _stack(kept, stacks)
            kept, stacks = [], {geometry: [] for geometry in geometries}
    if kept:
        yield _stack(kept, stacks)


@dataclass(frozen=True)
class _Encoded:
    """What to decode of a sample, deferred."""

    sample: Sample
    root: Path
    name: str

    def __call__(self) -> bytes | Path:
        return self.sample.source(self.root)


def _size(getter: Getter) -> int:
    """The bytes that an image holds in memory until it is decoded."""
    return len(getter.sample.image or b"") if isinstance(getter, _Encoded) else 0


def _stack(images: list[NewImage], stacks: dict[Geometry, list[np.ndarray]]) -> SampleBatch:
    return SampleBatch(images, {geometry: np.stack(stack) for geometry, stack in stacks.items()})
