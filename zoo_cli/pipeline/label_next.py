"""The images to label next: those on which the heads of a pool agree least."""

from collections.abc import Mapping
from dataclasses import dataclass

from zoo_cli.config import Config
from zoo_cli.store.head_store import HeadRecord
from zoo_cli.store.manifest import load_manifest


@dataclass(frozen=True)
class ImageToLabel:
    """An unlabelled image, and its file if it has one of its own.

    `disagreement`: of the heads, in nats; `leaning`: the classes to which most of them lean, with their shares.
    """

    id: str
    path: str | None
    disagreement: float
    leaning: Mapping[str, float]


def list_images(settings: Config, record: HeadRecord, count: int) -> list[ImageToLabel]:
    """The first `count` images of a pool's record, the one on which its heads agree least first."""
    images = load_manifest(settings.manifest, settings.root)
    paths = dict(zip(images.ids, images.paths, strict=True))
    listed = []
    for position, (name, nats) in enumerate(record.disagreement[:count]):
        path = paths.get(name)
        leaning = record.leaning[position] if record.leaning else {}
        listed.append(ImageToLabel(name, None if path is None else str(settings.root / path), nats, leaning))
    return listed
