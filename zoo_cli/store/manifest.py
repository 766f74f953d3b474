"""The images of a task, by row of its manifest: what stages may read of them, and their bytes."""

import hashlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa

from zoo_cli.errors import ContractError
from zoo_cli.images.decoding import BadImage
from zoo_cli.images.in_order import paused
from zoo_cli.store import files, provenance, schemas
from zoo_cli.store.parquet_images import ImagePlace, ParquetImages

Array = np.ndarray
NO_LABEL = -1


@dataclass
class Images:
    """The manifest without the truth. Columns are arrays of N rows in canonical order; a missing label is -1.

    `places`: by row, where in a parquet file its image is. A row with neither path nor place has it in the manifest.
    """

    file: Path
    root: Path
    ids: Array
    data: Array
    split: Array
    probe: Array
    labels: Array
    sha256: Array
    paths: Array
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
        return replace(self, split=np.where([name in ids for name in self.ids], "failed", self.split)) if ids else self

    def fingerprint(self, rows: Array, *columns: str) -> str:
        """A digest of some columns of some rows."""
        return provenance.fingerprint([[str(value) for value in getattr(self, name)[rows]] for name in columns])

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
            self._group_ends = np.cumsum(files.group_sizes(self.file))
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
        truth = _labels(files.read_table(self.file, schemas.MANIFEST, ["truth"]).column("truth"))
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
    has_places = set(schemas.PLACE) <= set(files.column_types(file))
    table = files.read_table(file, schemas.MANIFEST, [*names, *(schemas.PLACE if has_places else ())])
    column = {name: np.array(table.column(name).to_pylist(), dtype=object) for name in ("id", "data", "path", "sha256")}
    split = np.array(table.column("split").to_pylist(), dtype=object)
    check_unique(column["id"], str(file))
    unknown = set(split) - {"labelled", "unlabelled", "test"}
    if unknown:
        raise ContractError(f'{file}: unknown split "{sorted(unknown)[0]}"', "labelled, unlabelled or test")
    labels = _labels(table.column("label"))
    if (labels[split == "labelled"] == NO_LABEL).any():
        raise ContractError(f"{file}: a labelled sample has no label")
    probe = np.array(table.column("probe").to_pylist(), dtype=bool)
    places = _places(table) if has_places else {}
    return Images(
        file, root, column["id"], column["data"], split, probe, labels, column["sha256"], column["path"], places
    )


def check_embedded(images: Images) -> None:
    """Raise ContractError unless the images that the manifest itself holds have the digests that it names.

    One image is in memory at a time.
    """
    for row, path in enumerate(images.paths):
        if path is not None or row in images.places:
            continue
        if hashlib.sha256(images.encoded(row)).hexdigest() != images.sha256[row]:
            raise ContractError(f"{images.file}: the image of {images.ids[row]} is damaged")


def check_unique(ids: Array, where: str) -> None:
    """Raise ContractError naming ids that repeat."""
    if len(set(ids)) == len(ids):
        return
    seen: set[str] = set()
    repeated = [str(name) for name in ids if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
    raise ContractError(f"{where}: {len(repeated)} ids repeat, e.g. {', '.join(repeated[:5])}")


def _places(table: pa.Table) -> dict[int, ImagePlace]:
    """Where the images are that a manifest only refers to, by row. Raises ContractError for half a reference."""
    places = {}
    for row, cells in enumerate(zip(*(table.column(name).to_pylist() for name in schemas.PLACE), strict=True)):
        if all(cell is not None for cell in cells):
            name, column, group, position = cells
            places[row] = ImagePlace(sys.intern(name), sys.intern(column), group, position)
        elif any(cell is not None for cell in cells):
            raise ContractError(f"the manifest names half of the place of an image (row {row})", "make it again")
    return places


def _labels(column: pa.ChunkedArray) -> Array:
    return np.array([NO_LABEL if label is None else label for label in column.to_pylist()], dtype=np.int64)
