"""The rows of a manifest: every image of the task, read once, and the tables in which they are written."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import pyarrow as pa

from zoo_cli import devices
from zoo_cli.config import Config
from zoo_cli.data.samples import Sample
from zoo_cli.images import decoding, headers, in_order
from zoo_cli.images.image_info import ImageInfo
from zoo_cli.pipeline.split_findings import SeenImage
from zoo_cli.pipeline.task_data import DataPart
from zoo_cli.progress import Progress
from zoo_cli.store import schemas
from zoo_cli.store.failures import Failure


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """A readable sample as a row of the manifest. `label`: the true one, until `in_split` hides it."""

    id: str
    data: str
    path: str | None
    label: int | None
    sha256: str
    width: int
    height: int
    group: str | None
    split: str = ""
    probe: bool = False
    truth: int | None = None
    file: str | None = None
    column: str | None = None
    row_group: int | None = None
    row: int | None = None

    def in_split(self, split: str, probe: bool) -> Self:
        """The row in its split: the label of an unlabelled or test sample becomes its truth."""
        labelled = split == "labelled"
        label, truth = (self.label, None) if labelled else (None, self.label)
        return replace(self, split=split, probe=probe, label=label, truth=truth)


def check_images(
    settings: Config, parts: list[DataPart], workers: int | None, *, only_headers: bool = False
) -> tuple[list[ManifestRow], list[SeenImage], list[Failure]]:
    """Decode and hash every image once: the rows of the readable ones, what they show, and the failures.

    `only_headers`: images are hashed and their headers read, but they are not decoded.
    """
    read_info = headers.header_info if only_headers else decoding.image_info

    def check(entry: tuple[DataPart, str, Sample]) -> tuple[DataPart, str, Sample, ImageInfo | decoding.BadImage]:
        try:
            result: ImageInfo | decoding.BadImage = read_info(entry[2].source(settings.root))
        except decoding.BadImage as bad:
            result = bad
        return entry[0], entry[1], replace(entry[2], image=None), result

    entries = ((part, name, sample) for part in parts for name, sample in part.entries())
    rows: list[ManifestRow] = []
    seen: list[SeenImage] = []
    failed: list[Failure] = []
    with Progress("split", None, "images") as progress:
        results = in_order.map_in_order(
            check,
            entries,
            devices.workers(workers),
            size_of=lambda entry: len(entry[2].image or b""),
            name_of=lambda entry: entry[1],
        )
        for part, name, sample, info in results:
            progress.advance(1)
            if isinstance(info, decoding.BadImage):
                failed.append(Failure(name, sample.path, str(info)))
                continue
            seen.append(SeenImage(name, part.name, sample.label, info))
            size = info.width, info.height
            row = ManifestRow(name, part.name, sample.path, sample.label, info.sha256, *size, sample.group)
            rows.append(replace(row, **asdict(sample.place)) if sample.place else row)
    return rows, seen, failed


def make_tables(rows: list[ManifestRow], parts: list[DataPart], schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows as tables. Images that no file holds are read a second time, to keep few in memory."""
    if all(row.path or row.file for row in rows):
        for start in range(0, len(rows), schemas.ROW_GROUP):
            yield _to_table(rows[start : start + schemas.ROW_GROUP], schema)
        return
    row_of = {row.id: row for row in rows}
    piece: list[ManifestRow] = []
    images: list[bytes | None] = []
    size = 0
    for part in parts:
        for name, sample in part.entries():
            if name in row_of:
                images.append(None if sample.place else sample.image)
                size += len(images[-1] or b"")
                piece.append(row_of[name])
            if len(piece) == schemas.ROW_GROUP or size > in_order.AHEAD_BYTES:
                yield _to_table(piece, schema, images)
                piece, images, size = [], [], 0
    yield _to_table(piece, schema, images)


def _to_table(rows: Sequence[ManifestRow], schema: pa.Schema, images: Sequence[bytes | None] | None = None) -> pa.Table:
    columns: dict[str, Sequence[Any]] = {"image": [None] * len(rows) if images is None else images}
    columns |= {name: [getattr(row, name) for row in rows] for name in schema.names if name != "image"}
    return pa.table([pa.array(columns[field.name], field.type) for field in schema], schema=schema)
