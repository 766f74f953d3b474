"""Stored outputs of a source: embeddings, logits or probabilities by sample id, from our parts or any parquet file."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from zoo_cli.errors import ContractError, UsageError
from zoo_cli.metrics.probabilities import restore_sums
from zoo_cli.store import files, output_columns, parquet_files, path_patterns, provenance, replacement, schemas
from zoo_cli.store.manifest import Images, check_unique
from zoo_cli.store.output_columns import COLUMNS
from zoo_cli.store.text_column import TextColumn, to_arrow

Array = np.ndarray
OURS = tuple(schema.tag for schema in (schemas.FEATURES, schemas.PSEUDO, schemas.PREDICTIONS, schemas.NEW_PREDICTIONS))


@dataclass(frozen=True)
class StoredOutputs:
    """Stored outputs of one source, row by row: `embedding` (N, D), `logits` (N, K), `probs` (N, K), `labels` (N,)."""

    name: str
    ids: Array
    embedding: Array | None = None
    logits: Array | None = None
    probs: Array | None = None
    labels: Array | None = None

    def probabilities(self, output: str = "softmax") -> Array | None:
        """Class probabilities (N, K) in float64; None if neither logits nor probabilities are known."""
        if self.probs is not None:
            return self.probs.astype(np.float64) if output == "sigmoid" else restore_sums(self.probs)
        return None if self.logits is None else to_probabilities(self.logits, output)

    def to_logits(self) -> Array | None:
        """Logits (N, K), else logarithms of the probabilities, clipped to the smallest float32; None without both."""
        if self.logits is not None or self.probs is None:
            return self.logits
        return log_probabilities(self.probs)

    def take(self, rows: Array | slice) -> Self:
        """A selection of rows."""
        selected = {name: value[rows] for name in (*COLUMNS, "labels") if (value := getattr(self, name)) is not None}
        return replace(self, ids=self.ids[rows], **selected)


def log_probabilities(probs: Array) -> Array:
    """The logarithms of probabilities in float64, of 0 that of the smallest normal float32."""
    return np.asarray(np.log(np.maximum(probs.astype(np.float64), np.finfo(np.float32).tiny)))


def to_probabilities(logits: Array, output: str) -> Array:
    """Softmax or sigmoid of logits (N, K), in float64."""
    z = logits.astype(np.float64)
    if not z.size:
        return z
    if output == "sigmoid":
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * z)))
    z -= z.max(axis=1, keepdims=True)
    np.exp(z, out=z)
    return np.asarray(z / z.sum(axis=1, keepdims=True))


def find_parts(path: Path) -> list[Path]:
    """The parquet files of a path: a file, a folder of parts, or a glob. Raises UsageError if there are none."""
    replacement.settle(path)
    if path.is_dir():
        parts = [part for part in sorted(path.rglob("*.parquet")) if not replacement.is_hidden(part, path)]
    else:
        parts = [part for part in path_patterns.match_paths(path) if not part.name.startswith(".")]
    parts = [part for part in parts if part.name != schemas.SOURCE_MEANS.file]
    if not parts:
        raise UsageError(f"no parquet file at {path}")
    return parts


def display_name(path: Path) -> str:
    """The name of the source whose outputs are stored at a path: the stem of the file, or the folder's."""
    return path.name.removeprefix("source=") if path.is_dir() else path.stem


def has_outputs(path: Path) -> bool:
    """Whether logits or probabilities are stored at a path, in all its parts."""
    return all({"logits", "probs"} & set(parquet_files.column_types(part)) for part in find_parts(path))


def output_width(path: Path) -> int | None:
    """The number of classes of the stored logits or probabilities; None without both."""
    widths = (parquet_files.list_width(part, column) for part in find_parts(path) for column in ("logits", "probs"))
    return next((width for width in widths if width is not None), None)


def content_digest(path: Path) -> str:
    """A digest of the files at a path: of the headers of our parts, or of the bytes of other files."""

    def read() -> list[list[object]]:
        return [
            [part.name, parquet_files.read_header(part).get("inputs") or files.digest(part)]
            for part in find_parts(path)
        ]

    return provenance.fingerprint(replacement.read_whole(path, read))


def load_outputs(
    path: Path,
    *,
    ids: Array | TextColumn | None = None,
    columns: Sequence[str] = COLUMNS,
    needed: Collection[str] = (),
    output: str = "softmax",
    name: str = "",
    images: Images | None = None,
) -> StoredOutputs:
    """The rows of `ids` in that order, or every row in the order stored.

    `needed`: the columns that must exist. `images`: of a manifest, with whose labels those of the file must agree.
    Raises ContractError for repeated or missing ids, and for values that break the contract of their column, see
    `output_columns`.
    """
    selected = None if ids is None else TextColumn.of(ids)
    stored, places, arrays = replacement.read_whole(
        path, lambda: _read_parts(path, find_parts(path), selected, columns)
    )
    for column in needed:
        if column not in arrays:
            raise lacks_column(path, column)
    if selected is None:
        check_unique(stored, str(path))
    elif not (np.bincount(places[places >= 0], minlength=len(selected)) == 1).all():
        check_unique(stored.take(places >= 0), str(path))
        find_rows(selected, stored, path)
        firsts = selected.positions(selected)  # nothing is wrong but that an id is selected again
        arrays = {column: values[firsts] for column, values in arrays.items()}
    stored_ids = np.asarray(stored if selected is None else selected)
    for column in columns:
        if column in arrays:
            output_columns.check_values(arrays[column], column, stored_ids, path, output)
    labels = arrays.get("label")
    if labels is not None and images is not None:
        output_columns.compare_labels(path, stored_ids, labels, images.file, images.ids, images.labels)
    name = name or display_name(path)
    return StoredOutputs(name, stored_ids, arrays.get("embedding"), arrays.get("logits"), arrays.get("probs"), labels)


def load_parts(path: Path, output: str) -> Iterator[StoredOutputs]:
    """The rows of each file at a path, one file in memory at a time. Raises ContractError as `load_outputs` does."""
    for part in find_parts(path):
        stored, _, arrays = _read_parts(part, [part], None, COLUMNS)
        ids = np.asarray(stored)
        for column in COLUMNS:
            if (values := arrays.get(column)) is not None:
                output_columns.check_values(values, column, ids, path, output)
        yield StoredOutputs(part.stem, ids, *(arrays.get(name) for name in COLUMNS))


def check_part(part: Path) -> Collection[str]:
    """The names of the columns of a file. Raises ContractError unless it can hold outputs."""
    tag = parquet_files.read_header(part).get("schema")
    if tag is not None and tag not in OURS:
        raise ContractError(f"{part} is a {tag}, not one of {', '.join(OURS)}", "a newer zoo may have written it")
    names = parquet_files.column_types(part)
    if "id" not in names:
        raise ContractError(f"{part} has no column id")
    return names


def lacks_column(path: Path, column: str) -> ContractError:
    """The error for outputs of which some or all lack a column."""
    return ContractError(f"{path} has no column {column} in all its parts", "make it again, or fetch it again")


def _read_parts(
    path: Path, parts: Sequence[Path], selected: TextColumn | None, columns: Sequence[str]
) -> tuple[TextColumn, Array, dict[str, Array]]:
    """The ids (N,) of files, where each is among the M selected ones, of equal ones the first, or -1, and the arrays
    (M, W) of the columns that every file has, by name. A row whose id no file has is not filled. Without a selection
    every row is in its own place.

    As many files at a time as Arrow uses threads. The ids of all are looked up at once: each lookup hashes everything
    that is selected.
    """
    with ThreadPoolExecutor(max(1, min(len(parts), pa.cpu_count()))) as pool:
        ids = list(pool.map(_read_ids, parts))
        stored = TextColumn.join(ids)
        places = np.arange(len(stored)) if selected is None else selected.positions(stored)
        of_parts = np.split(places, np.cumsum([len(own) for own in ids])[:-1])
        pieces = pool.map(lambda part, own: _read_part(part, own, columns), parts, of_parts)
        return stored, places, _gather(pieces, len(stored if selected is None else selected), path)


def _gather(pieces: Iterable[tuple[Array, dict[str, Array]]], count: int, path: Path) -> dict[str, Array]:
    """The rows of all pieces, each at its place among `count`: arrays by column, of the columns that all pieces have.

    A piece is let go before the next one is looked at, so that a column is in memory once. Raises ContractError for
    pieces of different widths.
    """
    arrays: dict[str, Array] | None = None
    empty: dict[str, Array] = {}
    uneven: set[str] = set()
    for places, own in pieces:
        if not len(places):  # of images that all failed: it may lack columns, or not know their width
            empty = empty or own
            continue
        if len(places) == count and np.array_equal(places, np.arange(count)):
            return own
        if arrays is None:
            arrays = {column: np.empty((count, *values.shape[1:]), values.dtype) for column, values in own.items()}
        arrays = {column: total for column, total in arrays.items() if column in own}
        for column, total in arrays.items():
            values = own.pop(column)
            if total.shape[1:] != values.shape[1:]:
                uneven.add(column)
                continue
            arrays[column] = total.astype(np.result_type(total.dtype, values.dtype), copy=False)
            arrays[column][places] = values
    if arrays is None:
        return empty
    if wrong := uneven & set(arrays):
        raise ContractError(f"{path}: the parts disagree on the width of {min(wrong)}")
    return arrays


def _read_ids(part: Path) -> TextColumn:
    """The ids of a file."""
    check_part(part)
    with parquet_files.open_parquet(part) as stream:
        groups = range(stream.num_row_groups)
        return output_columns.read_ids(parquet_files.read_groups(stream, groups, ["id"]).column("id"), part)


def _read_part(part: Path, places: Array, columns: Sequence[str]) -> tuple[Array, dict[str, Array]]:
    """The rows of a file (N,) that have a place; the others have -1: their places, and the arrays of the columns that
    the file has, by name. Only the row groups that hold one are read, one after another."""
    with parquet_files.open_parquet(part) as stream:
        here = [column for column in (*columns, "label") if column in stream.schema_arrow.names]
        if stream.metadata.num_rows != len(places):
            raise ContractError(f"{part} was replaced while it was read", "run the same command again")
        rows = np.flatnonzero(places >= 0)
        if len(rows) == len(places):
            table = parquet_files.read_groups(stream, range(stream.num_row_groups), here)
        else:
            places = places[rows]
            table = pa.concat_tables(_read_rows(stream, rows, here))
    arrays = {}
    for column in here:
        if column == "label":
            arrays[column] = output_columns.read_labels(table.column(column), part)
        elif (values := output_columns.read_matrix(table.column(column), column, part)) is not None:
            arrays[column] = values
    return places, arrays


def _read_rows(stream: pq.ParquetFile, rows: Array, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Some rows (M,), ascending, of a file: a table for each row group that holds one, else one without rows."""
    sizes = [stream.metadata.row_group(group).num_rows for group in range(stream.num_row_groups)]
    ends = np.cumsum(sizes)
    groups = np.searchsorted(ends, rows, side="right")
    if not len(rows):
        yield stream.schema_arrow.empty_table().select(list(columns))
    for group in np.unique(groups).tolist():
        first = ends[group] - sizes[group]
        yield parquet_files.read_groups(stream, [group], columns).take(to_arrow(rows[groups == group] - first))


def find_rows(ids: TextColumn, stored: TextColumn, path: Path) -> Array:
    """Where each of the ids (M,) is among those stored at a path. Raises ContractError for missing ones."""
    rows = stored.positions(ids)
    missing = ids[rows < 0]
    if len(missing):
        examples = ", ".join(missing[:5])
        raise ContractError(
            f"{path} lacks {len(missing):,} of {len(ids):,} ids of the manifest, e.g. {examples}",
            "its ids must be those of the manifest; compare both with zoo show",
        )
    return rows
