"""Stored outputs of a source: embeddings, logits or probabilities by sample id, from our parts or any parquet file."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from zoo_cli.errors import ContractError, UsageError
from zoo_cli.metrics.probabilities import restore_sums
from zoo_cli.store import files, output_columns, path_patterns, provenance, replacement, schemas
from zoo_cli.store.manifest import Images, check_unique
from zoo_cli.store.output_columns import COLUMNS

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
    return all({"logits", "probs"} & set(files.column_types(part)) for part in find_parts(path))


def output_width(path: Path) -> int | None:
    """The number of classes of the stored logits or probabilities; None without both."""
    widths = (files.list_width(part, column) for part in find_parts(path) for column in ("logits", "probs"))
    return next((width for width in widths if width is not None), None)


def content_digest(path: Path) -> str:
    """A digest of the files at a path: of the headers of our parts, or of the bytes of other files."""

    def read() -> list[list[object]]:
        return [[part.name, files.read_header(part).get("inputs") or files.digest(part)] for part in find_parts(path)]

    return provenance.fingerprint(replacement.read_whole(path, read))


def load_outputs(
    path: Path,
    *,
    ids: Array | None = None,
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
    selected = None if ids is None else set(ids)
    pieces = replacement.read_whole(path, lambda: [_read_part(part, selected, columns) for part in find_parts(path)])
    # Parts without rows, whose images all failed, may lack columns or not know their width.
    filled = [piece for piece in pieces if len(piece["id"])] or pieces[:1]  # type: ignore[arg-type]
    present = [column for column in (*columns, "label") if all(piece[column] is not None for piece in filled)]
    for column in needed:
        if column not in present:
            raise ContractError(f"{path} has no column {column} in all its parts", "make it again, or fetch it again")
    stored_ids = np.concatenate([piece["id"] for piece in pieces])
    check_unique(stored_ids, str(path))
    arrays: dict[str, Array] = {}
    for column in present:
        chunks: list[Array] = [piece[column] for piece in filled]  # type: ignore[misc]
        if len({chunk.shape[1:] for chunk in chunks}) > 1:
            raise ContractError(f"{path}: the parts disagree on the width of {column}")
        arrays[column] = chunks[0] if len(chunks) == 1 else np.concatenate(chunks)
    if ids is not None:
        order = _rows_of(ids, stored_ids, path)
        stored_ids, arrays = stored_ids[order], {column: array[order] for column, array in arrays.items()}
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
        piece = _read_part(part, None, COLUMNS)
        for column in COLUMNS:
            if (values := piece[column]) is not None:
                output_columns.check_values(values, column, piece["id"], path, output)  # type: ignore[arg-type]
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
    ids = output_columns.read_ids(table.column("id"), part)
    if selected is not None and not selected.issuperset(ids):
        keep = np.flatnonzero([name in selected for name in ids])
        table, ids = table.take(keep), ids[keep]
    piece: dict[str, Array | None] = {"id": ids, **dict.fromkeys((*columns, "label"))}
    for column in here:
        values = table.column(column)
        if column == "label":
            piece[column] = output_columns.read_labels(values, part)
        else:
            piece[column] = output_columns.read_matrix(values, column, part)
    return piece


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
