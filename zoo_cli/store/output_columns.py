"""The columns of stored outputs, whoever wrote them: what each must hold, checked in this one place.

`id`: a text or number, not null, each once. `embedding`, `logits`, `probs`: lists of one width, finite in float32;
`probs` are not negative and, for a softmax, sum to 1. `label`: whole numbers, classes counted from 0; null or -1 means
no label. Where the same ids have labels elsewhere, both agree.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from zoo_cli.errors import ContractError
from zoo_cli.metrics.probabilities import invalid_rows
from zoo_cli.store.columns import to_matrix
from zoo_cli.store.manifest import NO_LABEL
from zoo_cli.store.text_column import TextColumn, to_numbers

Array = np.ndarray
COLUMNS = ("embedding", "logits", "probs")
LISTED = 5
BLOCK = 1024
"""Rows that are checked at a time."""


def read_ids(column: pa.ChunkedArray, part: Path) -> TextColumn:
    """The ids (N,) of a file as strings. Raises ContractError for nulls."""
    if column.null_count:
        raise ContractError(f"{part}: column id has nulls")
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return TextColumn.of(column)
    return TextColumn.of(str(value) for value in column.to_pylist())


def read_labels(column: pa.ChunkedArray, part: Path) -> Array:
    """The labels (N,) of a file, -1 where there is none. Raises ContractError for anything but whole numbers."""
    if not pa.types.is_integer(column.type) and column.null_count < len(column):
        raise ContractError(f"{part}: column label is {column.type}", "expected whole numbers, classes counted from 0")
    if not pa.types.is_integer(column.type):
        return np.full(len(column), NO_LABEL)
    labels = to_numbers(column.cast(pa.int64()), NO_LABEL)
    if (labels < NO_LABEL).any():
        raise ContractError(f"{part}: label {labels.min()}", f"classes count from 0; null or {NO_LABEL} means no label")
    return labels


def read_matrix(column: pa.ChunkedArray, name: str, part: Path) -> Array | None:
    """The values (N, W) of a list column of a file; None where all are null. Raises ContractError for ragged rows."""
    if len(column) and column.null_count == len(column):
        return None
    return to_matrix(column, f"{part}: column {name}")


def check_values(values: Array, column: str, ids: Array, path: Path, output: str) -> None:
    """Raise ContractError for values (N, W) that break the contract of their column.

    `output`: what the probabilities are, softmax or sigmoid.
    """
    if len(values) and not values.shape[1]:
        raise ContractError(f"{path}: column {column} holds empty lists")
    bad = _find_rows(values, _not_finite)
    if bad.any():
        raise ContractError(
            f"{path}: column {column} is not finite (or beyond float32) in {bad.sum():,} rows, e.g. {_list(ids[bad])}",
            "make these rows again, or leave the source out",
        )
    no_probabilities = partial(invalid_rows, distribution=output == "softmax")
    if column == "probs" and (wrong := _find_rows(values, no_probabilities)).any():
        raise ContractError(
            f"{path}: probabilities of {wrong.sum():,} rows do not sum to 1, e.g. {_list(ids[wrong])}",
            "name the column logits if that is what it holds",
        )


def compare_labels(
    path: Path, ids: Array, labels: Array, other: Path, other_ids: Array | TextColumn, other_labels: Array
) -> None:
    """Raise ContractError where the labels of a file disagree with those of another, joined by id.

    Samples without a label in one of them are not compared. The first of those that differ is named, in the order of
    the other file.
    """
    names = TextColumn.of(other_ids)
    rows = TextColumn.of(ids).positions(names)
    joined = np.where(rows < 0, NO_LABEL, labels[rows]) if len(labels) else np.full(len(names), NO_LABEL)
    wrong = np.flatnonzero((joined != other_labels) & (joined != NO_LABEL) & (other_labels != NO_LABEL))
    if len(wrong):
        raise ContractError(
            f"{path} and {other} disagree on the label of {len(wrong):,} samples, "
            f"e.g. {names[wrong[0]]}: {joined[wrong[0]]} and {other_labels[wrong[0]]}",
            "its rows belong to other ids, or its classes have another order or are of another task",
        )


def _not_finite(values: Array) -> Array:
    """Which rows (N,) are not finite in float32; beyond it the squares that metrics take overflow even float64."""
    with np.errstate(over="ignore"):
        return np.asarray(~np.isfinite(values.astype(np.float32, copy=False)).all(axis=1))


def _find_rows(values: Array, test: Callable[[Array], Array]) -> Array:
    """Which rows (N,) of values (N, W) a test finds, by blocks whose copies stay in the processor's cache."""
    wrong = np.zeros(len(values), dtype=bool)
    for start in range(0, len(values), BLOCK):
        wrong[start : start + BLOCK] = test(values[start : start + BLOCK])
    return wrong


def _list(ids: Array) -> str:
    return ", ".join(str(name) for name in ids[:LISTED])
