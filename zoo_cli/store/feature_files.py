"""Stored outputs of a source: embeddings, logits or probabilities by sample id, from our parts or any parquet file."""

import glob
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa

from zoo_cli.errors import ContractError, UsageError
from zoo_cli.store import files, provenance, schemas
from zoo_cli.store.columns import to_matrix
from zoo_cli.store.manifest import NO_LABEL, check_unique

Array = np.ndarray
OURS = tuple(schema.tag for schema in (schemas.FEATURES, schemas.PSEUDO, schemas.PREDICTIONS, schemas.NEW_PREDICTIONS))
COLUMNS = ("embedding", "logits", "probs")
SUM_TOLERANCE = 1e-3
HALF_SUM_TOLERANCE = 1e-2  # float16 rounds a thousand small probabilities by more than a float32 does


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
            return self.probs.astype(np.float64)
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
    if path.is_dir():
        parts = sorted(path.rglob("*.parquet"))
    else:
        parts = [path] if path.exists() else sorted(Path(name) for name in glob.glob(str(path)))
    parts = [part for part in parts if not part.name.startswith(".") and part.name != schemas.SOURCE_MEANS.file]
    if not parts:
        raise UsageError(f"no parquet file at {path}")
    return parts


def display_name(path: Path) -> str:
    """The name of the source whose outputs are stored at a path: the stem of the file, or the folder's."""
    return path.name.removeprefix("source=") if path.is_dir() else path.stem


def has_outputs(path: Path) -> bool:
    """Whether logits or probabilities are stored at a path, in all its parts."""
    return all({"logits", "probs"} & set(files.column_types(part)) for part in find_parts(path))


def output_width(path: Path) -> int | None:
    """The number of classes of the stored logits or probabilities; None without both."""
    widths = (files.list_width(part, column) for part in find_parts(path) for column in ("logits", "probs"))
    return next((width for width in widths if width is not None), None)


def content_digest(path: Path) -> str:
    """A digest of the files at a path: of the headers of our parts, or of the bytes of other files."""
    contents = []
    for part in find_parts(path):
        header = files.read_header(part)
        contents.append([part.name, header.get("inputs") or files.digest(part)])
    return provenance.fingerprint(contents)


def load_outputs(
    path: Path,
    *,
    ids: Array | None = None,
    columns: Sequence[str] = COLUMNS,
    needed: Collection[str] = (),
    output: str = "softmax",
    name: str = "",
) -> StoredOutputs:
    """The rows of `ids` in that order, or every row in the order stored.

    `needed`: the columns that must exist. Raises ContractError for repeated or missing ids, values that are not
    finite, and probabilities that do not sum to 1.
    """
    selected = None if ids is None else set(ids)
    pieces = [_read_part(part, selected, columns) for part in find_parts(path)]
    present = [column for column in (*columns, "label") if all(piece[column] is not None for piece in pieces)]
    for column in needed:
        if column not in present:
            raise ContractError(f"{path} has no column {column} in all its parts", "make it again, or fetch it again")
    stored_ids = np.concatenate([piece["id"] for piece in pieces])
    check_unique(stored_ids, str(path))
    arrays: dict[str, Array] = {}
    for column in present:
        # Parts without rows may not know their width; if all are empty, the first one stands for the column.
        filled = [piece for piece in pieces if len(piece["id"])] or pieces[:1]  # type: ignore[arg-type]
        chunks: list[Array] = [piece[column] for piece in filled]  # type: ignore[misc]
        if len({chunk.shape[1:] for chunk in chunks}) > 1:
            raise ContractError(f"{path}: the parts disagree on the width of {column}")
        arrays[column] = chunks[0] if len(chunks) == 1 else np.concatenate(chunks)
    if ids is not None:
        order = _rows_of(ids, stored_ids, path)
        stored_ids, arrays = stored_ids[order], {column: array[order] for column, array in arrays.items()}
    for column in columns:
        if column in arrays:
            _check_values(arrays[column], column, stored_ids, path, output)
    labels = arrays.get("label")
    name = name or display_name(path)
    return StoredOutputs(name, stored_ids, arrays.get("embedding"), arrays.get("logits"), arrays.get("probs"), labels)


def load_parts(path: Path) -> Iterator[StoredOutputs]:
    """The rows of each file at a path, one file in memory at a time; their values are not checked."""
    for part in find_parts(path):
        piece = _read_part(part, None, COLUMNS)
        yield StoredOutputs(part.stem, piece["id"], *(piece[name] for name in COLUMNS))  # type: ignore[arg-type]


def _read_part(part: Path, selected: set[str] | None, columns: Sequence[str]) -> dict[str, Array | None]:
    tag = files.read_header(part).get("schema")
    if tag is not None and tag not in OURS:
        raise ContractError(f"{part} is a {tag}, not one of {', '.join(OURS)}", "a newer zoo may have written it")
    names = files.column_types(part)
    if "id" not in names:
        raise ContractError(f"{part} has no column id")
    here = [column for column in (*columns, "label") if column in names]
    table = files.read_parquet(part, ["id", *here])
    if table.column("id").null_count:
        raise ContractError(f"{part}: column id has nulls")
    ids = np.array([str(value) for value in table.column("id").to_pylist()], dtype=object)
    if selected is not None and not selected.issuperset(ids):
        keep = np.flatnonzero([name in selected for name in ids])
        table, ids = table.take(keep), ids[keep]
    piece: dict[str, Array | None] = {"id": ids, **dict.fromkeys((*columns, "label"))}
    for column in here:
        values = table.column(column)
        if column == "label":
            piece[column] = _labels(values, part)
        elif values.null_count < len(values) or not len(values):
            piece[column] = to_matrix(values, f"{part}: column {column}")
    return piece


def _labels(values: pa.ChunkedArray, part: Path) -> Array:
    if not pa.types.is_integer(values.type) and values.null_count < len(values):
        raise ContractError(f"{part}: column label is {values.type}", "expected whole numbers, classes counted from 0")
    labels = np.array([NO_LABEL if value is None else value for value in values.to_pylist()], dtype=np.int64)
    if (labels < NO_LABEL).any():
        raise ContractError(f"{part}: label {labels.min()}", f"classes count from 0; null or {NO_LABEL} means no label")
    return labels


def _rows_of(ids: Array, stored_ids: Array, path: Path) -> Array:
    row_of = {name: row for row, name in enumerate(stored_ids)}
    missing = [str(name) for name in ids if name not in row_of]
    if missing:
        examples = ", ".join(missing[:5])
        raise ContractError(
            f"{path} lacks {len(missing):,} of {len(ids):,} ids of the manifest, e.g. {examples}",
            "its ids must be those of the manifest; compare both with zoo show",
        )
    return np.array([row_of[name] for name in ids], dtype=np.int64)


def _check_values(array: Array, column: str, ids: Array, path: Path, output: str) -> None:
    if len(array) and not array.shape[1]:
        raise ContractError(f"{path}: column {column} holds empty lists")
    # Beyond float32 the squares that metrics take would overflow even float64.
    with np.errstate(over="ignore"):
        bad = ~np.isfinite(array.astype(np.float32, copy=False)).all(axis=1)
    if bad.any():
        names = ", ".join(str(name) for name in ids[bad][:5])
        raise ContractError(
            f"{path}: column {column} is not finite (or beyond float32) in {bad.sum():,} rows, e.g. {names}",
            "make these rows again, or leave the source out",
        )
    if column == "probs":
        tolerance = HALF_SUM_TOLERANCE if array.dtype == np.float16 else SUM_TOLERANCE
        values = array.astype(np.float64)
        wrong = (values < 0).any(axis=1) | (values > 1 + tolerance).any(axis=1)
        if output == "softmax":
            wrong |= np.abs(values.sum(axis=1) - 1) > tolerance
        if wrong.any():
            names = ", ".join(str(name) for name in ids[wrong][:5])
            raise ContractError(
                f"{path}: probabilities of {wrong.sum():,} rows do not sum to 1, e.g. {names}",
                "name the column logits if that is what it holds",
            )
