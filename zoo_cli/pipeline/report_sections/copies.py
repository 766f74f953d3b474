"""The images that occur under more than one id: those of several classes first, then test images among the others."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from zoo_cli.counts import count_things
from zoo_cli.pipeline.report_sections.report_images import Thumbnails
from zoo_cli.report.blocks import Block, Gallery, Paragraph, PictureRow
from zoo_cli.report.wording import show_name
from zoo_cli.store.manifest import NO_LABEL, Images

MOST, NAMED = 8, 2
"""The copied images that are shown, and how many of the ids of each are named."""


@dataclass(frozen=True)
class Copies:
    """The rows of one image in the manifest, its labels, and whether it is in the test part and in another."""

    rows: tuple[int, ...]
    labels: tuple[int, ...]
    leaks: bool


def find_copies(images: Images, truth: np.ndarray) -> list[Copies]:
    """The images that occur more than once, those to look at first in front. `truth`: labels (N,), NO_LABEL unknown."""
    _, group, sizes = np.unique(np.asarray(images.sha256, dtype=str), return_inverse=True, return_counts=True)
    repeated = np.flatnonzero(sizes[group] > 1)
    order = repeated[np.argsort(group[repeated], kind="stable")]
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    copies = []
    for rows in np.split(order, starts[1:]) if len(order) else ():
        labels = tuple(int(label) for label in np.unique(truth[rows]) if label != NO_LABEL)
        test = images.split[rows] == "test"
        copies.append(Copies(tuple(map(int, rows)), labels, bool(test.any() and not test.all())))
    return sorted(copies, key=lambda same: (len(same.labels) < 2, not same.leaks, same.rows))


def show_copies(images: Images, truth: np.ndarray, names: Sequence[str], thumbnails: Thumbnails) -> Iterator[Block]:
    """A gallery of copied images; nothing without one."""
    copies = find_copies(images, truth)
    shown = copies[:MOST]
    if not shown:
        return
    first = [same.rows[0] for same in shown]
    thumbnails.load(first)
    lines = [
        PictureRow(
            " and ".join(show_name(names[label], 30) for label in same.labels[:NAMED]) or "class not known",
            _describe(images, same),
            (thumbnails.picture(row, f"an image that occurs {len(same.rows):,} times"),),
        )
        for row, same in zip(first, shown, strict=True)
    ]
    rest = len(copies) - len(shown)
    yield Paragraph("Images that occur more than once: first those of several classes, then test images.", "note")
    yield Gallery(tuple(lines), f"{count_things(rest, 'more image')} with copies." if rest else "", listed=True)
    yield from thumbnails.report_gone(first)


def _describe(images: Images, same: Copies) -> str:
    """Where an image occurs."""
    ids = ", ".join(show_name(images.ids[row], 60) for row in same.rows[:NAMED])
    more = f" and {len(same.rows) - NAMED:,} more" if len(same.rows) > NAMED else ""
    return f"{ids}{more}{'; in training and test' if same.leaks else ''}"
