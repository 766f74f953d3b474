"""The images of a task, by row of its manifest: what stages may read of them, and their bytes."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa

from zoo_cli.errors import ContractError
from zoo_cli.images.decoding import BadImage
from zoo_cli.images.in_order import paused
from zoo_cli.store import parquet_files, provenance, schemas
from zoo_cli.store.parquet_images import ImagePlace, ImagePlaces, ParquetImages
from zoo_cli.store.text_column import BLOCK, TextColumn, decode_few, to_numbers

Array = np.ndarray
NO_LABEL = -1


@dataclass
class Images:
    """The manifest without the truth. Columns are arrays of N rows in canonical order; a missing label is -1.

    `places`: by row, where in a parquet file its image is. A row with neither path nor place has it in the manifest.
    """

    file: Path
    root: Path
    ids: TextColumn
    data: Array
    split: Array
    probe: Array
    labels: Array
    sha256: TextColumn
    paths: TextColumn
    places: Mapping[int, ImagePlace] = field(default_factory=dict)
    _parquet: ParquetImages = field(init=False)
    _group_ends: Array | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._parquet = ParquetImages(self.root)

    def __len__(self) -> int:
        return len(self.ids)

    def where(self, *, data: str | None = None, split: Sequence[str] = (), probe: bool = False) -> Array:
        """The rows (M,) of a data part, of some splits, of the probe set, in canonical order."""
        chosen = np.ones(len(self), bool)
        if data is not None:
            chosen &= self.data == data
        if split:
            chosen &= np.isin(self.split, list(split))
        if probe:
            chosen &= self.probe
        return np.flatnonzero(chosen)

    def without(self, ids: frozenset[str]) -> Self:
        """The same rows, with these ids in no split because their images failed."""
        return replace(self, split=np.where(self.ids.isin(ids), "failed", self.split)) if ids else self

    def fingerprint(self, rows: Array, *columns: str) -> str:
        """A digest of some columns of some rows."""
        return provenance.fingerprint_columns(_blocks(getattr(self, name), rows) for name in columns)

    def encoded(self, row: int) -> bytes:
        """The encoded image of a row, with the bytes that were hashed.

        Raises BadImage if the file cannot be read, ContractError if it changed since.
        """
        path = self.paths[row]
        if path is None and row not in self.places:
            return self._stored(int(row))
        try:
            data = self._read(self.places[row]) if path is None else (self.root / str(path)).read_bytes()
        except OSError as error:
            raise BadImage(f"cannot be read: {error.strerror}") from None
        if hashlib.sha256(data).hexdigest() != self.sha256[row]:
            name = path or self.places[row].file
            raise ContractError(f"{name} has changed since zoo split", "zoo split --overwrite reads it again")
        return data

    def getter(self, row: int) -> Callable[[], bytes]:
        """`encoded` of one row, deferred until the image is needed."""
        return EncodedImage(self, row)

    def _stored(self, row: int) -> bytes:
        """The image of a row that the manifest itself holds."""
        if self._group_ends is None:
            self._group_ends = np.cumsum(parquet_files.group_sizes(self.file))
        ends = self._group_ends
        group = int(np.searchsorted(ends, row, side="right"))
        begin = int(ends[group - 1]) if group else 0
        image = self._read(ImagePlace(os.path.abspath(self.file), "image", group, row - begin))
        if not image:
            raise ContractError(f"{self.file}: sample {self.ids[row]} has neither path nor image")
        return image

    def _read(self, place: ImagePlace) -> bytes:
        """The image at a place, for which much of a large row group may have to be read first."""
        with paused():
            return self._parquet.read(place)

    def truth(self) -> Array:
        """The known labels (N,) of every sample, -1 if unknown. Only for evaluation."""
        truth = _labels(parquet_files.read_table(self.file, schemas.MANIFEST, ["truth"]).column("truth"))
        return np.where(self.labels != NO_LABEL, self.labels, truth)


@dataclass(frozen=True)
class EncodedImage:
    """`Images.encoded` of one row, deferred, and the id of that row."""

    images: Images
    row: int

    @property
    def name(self) -> str:
        """The id, as errors show it."""
        return str(self.images.ids[self.row])

    def __call__(self) -> bytes:
        return self.images.encoded(self.row)


def load_manifest(file: Path, root: Path) -> Images:
    """The images of a manifest. Raises ContractError for repeated ids or unknown splits."""
    names = ["id", "data", "path", "label", "split", "probe", "sha256"]
    # Each column as it was read is freed when the next one is taken.
    columns = dict(
        zip(names, parquet_files.read_table(file, schemas.MANIFEST, names).select(names).columns, strict=True)
    )
    ids = TextColumn.of(columns.pop("id"))
    check_unique(ids, str(file))
    split, splits = decode_few(columns.pop("split"))
    unknown = set(splits) - {"labelled", "unlabelled", "test"}
    if unknown:
        raise ContractError(f'{file}: unknown split "{sorted(unknown)[0]}"', "labelled, unlabelled or test")
    labels = _labels(columns.pop("label"))
    if (labels[split == "labelled"] == NO_LABEL).any():
        raise ContractError(f"{file}: a labelled sample has no label")
    data, probe = decode_few(columns.pop("data"))[0], to_numbers(columns.pop("probe"))
    sha256, paths = TextColumn.of(columns.pop("sha256")), TextColumn.of(columns.pop("path"))
    return Images(file, root, ids, data, split, probe, labels, sha256, paths, _places(file))


def check_embedded(images: Images) -> None:
    """Raise ContractError unless the images that the manifest itself holds have the digests that it names.

    One image is in memory at a time.
    """
    for row, path in enumerate(images.paths):
        if path is not None or row in images.places:
            continue
        if hashlib.sha256(images.encoded(row)).hexdigest() != images.sha256[row]:
            raise ContractError(f"{images.file}: the image of {images.ids[row]} is damaged")


def check_unique(ids: Array | TextColumn, where: str) -> None:
    """Raise ContractError naming ids that repeat."""
    if not TextColumn.of(ids).repeats():
        return
    seen: set[str] = set()
    repeated = [str(name) for name in ids if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
    raise ContractError(f"{where}: {len(repeated)} ids repeat, e.g. {', '.join(repeated[:5])}")


def _blocks(column: Array | TextColumn, rows: Array) -> Iterator[list[str]]:
    """The values of some rows as strings, in lists of at most BLOCK."""
    for start in range(0, len(rows), BLOCK):
        yield [str(value) for value in column[rows[start : start + BLOCK]]]


def _places(file: Path) -> Mapping[int, ImagePlace]:
    """Where the images are that a manifest only refers to, by row."""
    if not set(schemas.PLACE) <= set(parquet_files.column_types(file)):
        return {}
    table = parquet_files.read_table(file, schemas.MANIFEST, schemas.PLACE)
    return ImagePlaces([table.column(name) for name in schemas.PLACE])


def _labels(column: pa.ChunkedArray) -> Array:
    return to_numbers(column, NO_LABEL)
