"""Leaks by content: how many of the task's test images a source was trained on, by their sha256."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow.compute as pc

from zoo_cli import console
from zoo_cli.config import Config, Source
from zoo_cli.errors import ContractError
from zoo_cli.store import image_lists, parquet_files, schemas
from zoo_cli.text_escapes import quote

SHOWN = 5
"""The number of ids that are named."""


@dataclass(frozen=True)
class Overlap:
    """The test images that a source was trained on.

    `n`: test images of the task; `seen`: those among them that the source was trained on, None if its training images
    are not known; `examples`: the ids of the first ones.
    """

    source: str
    n: int
    seen: int | None
    examples: tuple[str, ...] = ()


def count_overlaps(settings: Config, sources: Sequence[Source]) -> tuple[Overlap, ...]:
    """The overlap of each source with the test part of the manifest, which must exist, in their order.

    Raises UsageError for a list that is missing, ContractError for one that is damaged.
    """
    manifest = parquet_files.read_table(settings.manifest, schemas.MANIFEST, ["id", "split", "sha256"])
    test = manifest.filter(pc.equal(manifest.column("split"), "test"))
    ids, digests = test.column("id").to_pylist(), test.column("sha256").to_pylist()
    overlaps = []
    for source in sources:
        paths = image_lists.find_image_lists(settings.root, source.name, source.model, source.trained_images)
        if not paths:
            overlaps.append(Overlap(source.name, len(ids), None))
            continue
        listed = image_lists.find_listed(paths, digests)
        seen = [name for name, digest in zip(ids, digests, strict=True) if digest in listed]
        overlaps.append(Overlap(source.name, len(ids), len(seen), tuple(seen[:SHOWN])))
    return tuple(overlaps)


def warn_of_overlaps(overlaps: Sequence[Overlap]) -> None:
    """Warn of every source that was trained on test images, in one line each."""
    for overlap in overlaps:
        if overlap.seen:
            console.warn(
                f"{overlap.source} was trained on {overlap.seen:,} of the {overlap.n:,} test images, "
                f"e.g. {quote(overlap.examples[0])}: its students are not judged fairly"
            )


def refuse_overlaps(overlaps: Sequence[Overlap]) -> None:
    """Raise ContractError, naming the sources, if any was trained on test images."""
    leaking = [overlap.source for overlap in overlaps if overlap.seen]
    if leaking:
        raise ContractError(
            f"trained on test images of the task: {', '.join(leaking)}", "drop these sources, or these images"
        )
