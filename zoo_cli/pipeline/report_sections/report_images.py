"""Thumbnails of the images of a manifest, and those that are gone."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from zoo_cli import devices
from zoo_cli.counts import count_things
from zoo_cli.errors import ContractError
from zoo_cli.images import decoding, in_order
from zoo_cli.images.decoding import BadImage
from zoo_cli.report.blocks import Missing, Picture
from zoo_cli.report.thumbnails import Thumbnail, make_thumbnail
from zoo_cli.report.wording import show_name
from zoo_cli.store.manifest import Images


@dataclass(eq=False)
class Thumbnails:
    """Thumbnails by row of a manifest, each image read once. `gone`: why others cannot be shown, by row."""

    images: Images
    made: dict[int, Thumbnail] = field(default_factory=dict)
    gone: dict[int, str] = field(default_factory=dict)

    def load(self, rows: Sequence[int]) -> None:
        """Make the thumbnails of these rows, in threads."""
        pending = [row for row in dict.fromkeys(rows) if row not in self.made and row not in self.gone]
        results = in_order.map_in_order(
            self._make, pending, devices.workers(None), name_of=lambda row: str(self.images.ids[row])
        )
        for row, result in zip(pending, results, strict=True):
            if isinstance(result, Thumbnail):
                self.made[row] = result
            else:
                self.gone[row] = result

    def _make(self, row: int) -> Thumbnail | str:
        try:
            with decoding.open_decoded(self.images.encoded(row)) as image:
                return make_thumbnail(image)
        except BadImage as error:
            return str(error)
        except ContractError as error:
            return error.message

    def picture(self, row: int | None, alt: str, mark: str = "") -> Picture:
        """The picture of a row; None: of an image that the manifest does not have."""
        thumbnail = None if row is None else self.made.get(row)
        if thumbnail is None:
            return Picture(None, alt, mark)
        return Picture(thumbnail.source, alt, mark, thumbnail.tiny)

    def report_gone(self, rows: Sequence[int]) -> list[Missing]:
        """What is missing among these rows, in one line; nothing if they are all there."""
        gone = [row for row in dict.fromkeys(rows) if row in self.gone]
        if not gone:
            return []
        first = f"{show_name(self.images.ids[gone[0]])}: {show_name(self.gone[gone[0]])}"
        return [Missing(f"{count_things(len(gone), 'image')} of this section cannot be shown, e.g. {first}")]


def spread_rows(rows: np.ndarray, most: int) -> list[int]:
    """At most so many of the rows, evenly spread: neighbours are often alike."""
    places = np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)
    return [int(row) for row in rows[places]]
