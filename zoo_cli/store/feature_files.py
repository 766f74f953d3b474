"""Stored outputs of a source: embeddings, logits or probabilities by sample id, from our parts or any parquet file."""

from collections.abc import Collection, Iterator, Sequence
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
    pieces = replacement.read_whole(path, lambda: _read_parts(find_parts(path), selected, columns))
    # Parts without rows, whose images all failed, may lack columns.
    filled = [piece for piece in pieces if len(piece.ids)] or pieces[:1]
    present = [column for column in (*columns, "label") if all(column in piece.arrays for piece in filled)]
    for column in needed:
        if column not in present:
            raise lacks_column(path, column)
    stored = TextColumn.join([piece.ids for piece in pieces])
    order = _find_order(selected, stored, pieces, path)
    arrays = {column: _join(path, column, pieces, order) for column in present}
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
        (piece,) = _read_parts([part], None, COLUMNS)
        ids = np.asarray(piece.ids)
        for column in COLUMNS:
            if (values := piece.arrays.get(column)) is not None:
                output_columns.check_values(values, column, ids, path, output)
        yield StoredOutputs(part.stem, ids, *(piece.arrays.get(name) for name in COLUMNS))


@dataclass(frozen=True)
class _Piece:
    """Rows of one file: their ids, the arrays of the columns that it has, by name, and where each row is among the
    selected ones (N,)."""

    ids: TextColumn
    arrays: dict[str, Array]
    places: Array


def _join(path: Path, column: str, pieces: Sequence[_Piece], order: Array) -> Array:
    """The rows `order` (M,) of a column of all pieces (N, …), which lose it, so that it is in memory once."""
    # Parts without rows may not know their width; if all are empty, the first one stands for the column.
    filled = [piece for piece in pieces if len(piece.ids)] or pieces[:1]
    first = filled[0].arrays[column]
    if len({piece.arrays[column].shape[1:] for piece in filled}) > 1:
        raise ContractError(f"{path}: the parts disagree on the width of {column}")
    total = sum(len(piece.ids) for piece in filled)
    in_order = np.array_equal(order, np.arange(total))
    if len(filled) == 1 or len(order) != total:
        values = np.concatenate([piece.arrays.pop(column) for piece in filled]) if len(filled) > 1 else first
        return values if in_order else values[order]
    place = np.empty(total, np.int64)
    place[order] = np.arange(total)
    kind = np.result_type(*(piece.arrays[column].dtype for piece in filled))
    values = np.empty((total, *first.shape[1:]), kind)
    del first
    begin = 0
    for piece in filled:
        end = begin + len(piece.ids)
        values[slice(begin, end) if in_order else place[begin:end]] = piece.arrays.pop(column)
        begin = end
    return values


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


def _read_parts(parts: Sequence[Path], selected: TextColumn | None, columns: Sequence[str]) -> list[_Piece]:
    """The selected rows of files, as many files at a time as Arrow uses threads.

    The ids of all files are looked up at once: each lookup hashes everything that is selected.
    """
    with ThreadPoolExecutor(max(1, min(len(parts), pa.cpu_count()))) as pool:
        ids = list(pool.map(_read_ids, parts))
        sizes = [len(own) for own in ids]
        places = np.arange(sum(sizes)) if selected is None else selected.positions(TextColumn.join(ids))
        split = np.split(places, np.cumsum(sizes)[:-1])
        return list(pool.map(lambda part, own, here: _read_part(part, own, here, columns), parts, ids, split))


def _read_ids(part: Path) -> TextColumn:
    """The ids of a file."""
    check_part(part)
    with parquet_files.open_parquet(part) as stream:
        groups = range(stream.num_row_groups)
        return output_columns.read_ids(parquet_files.read_groups(stream, groups, ["id"]).column("id"), part)


def _read_part(part: Path, ids: TextColumn, places: Array, columns: Sequence[str]) -> _Piece:
    """The rows of a file that have a place (N,), of its ids (N,); the others have -1. Only the row groups that hold one
    are read, one after another."""
    with parquet_files.open_parquet(part) as stream:
        here = [column for column in (*columns, "label") if column in stream.schema_arrow.names]
        if stream.metadata.num_rows != len(ids):
            raise ContractError(f"{part} was replaced while it was read", "run the same command again")
        rows = np.flatnonzero(places >= 0)
        if len(rows) == len(ids):
            table = parquet_files.read_groups(stream, range(stream.num_row_groups), here)
        else:
            ids, places = ids.take(rows), places[rows]
            table = pa.concat_tables(_read_rows(stream, rows, here))
    arrays = {}
    for column in here:
        if column == "label":
            arrays[column] = output_columns.read_labels(table.column(column), part)
        elif (values := output_columns.read_matrix(table.column(column), column, part)) is not None:
            arrays[column] = values
    return _Piece(ids, arrays, places)


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


def _find_order(selected: TextColumn | None, stored: TextColumn, pieces: Sequence[_Piece], path: Path) -> Array:
    """Where each of the selected ids (M,), or each id in the order stored, is among those of all pieces.

    Where every id was found once, nothing is looked up again.
    """
    if selected is not None:
        places = np.concatenate([piece.places for piece in pieces])
        if len(places) == len(selected) and (np.bincount(places, minlength=len(selected)) == 1).all():
            order = np.empty_like(places)
            order[places] = np.arange(len(places))
            return order
    check_unique(stored, str(path))
    return np.arange(len(stored)) if selected is None else find_rows(selected, stored, path)


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
