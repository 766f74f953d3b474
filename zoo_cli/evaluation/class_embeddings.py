"""Vectors of class names from the user's file."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zoo_cli.errors import ContractError, UsageError
from zoo_cli.store import csv_files, files, parquet_files
from zoo_cli.store.columns import to_matrix

Array = np.ndarray


def load_class_vectors(file: Path, names: Sequence[str]) -> Array:
    """The vectors (K, D) of the class names. Two classes of one name share a vector.

    Raises ContractError for a file that lacks a class or has two vectors of one name, or whose vectors are ragged, not
    finite or zero.
    """
    return _select(_read(file), names, file)


def _select(vectors: Iterable[tuple[str, Sequence[float]]], names: Sequence[str], file: Path) -> Array:
    by_name: dict[str, Sequence[float]] = {}
    for name, vector in vectors:
        if name in by_name and not np.array_equal(by_name[name], vector):
            raise ContractError(f'{file} has two vectors of "{name}"', "one vector for each class name")
        by_name[name] = vector
    missing = [name for name in dict.fromkeys(names) if name not in by_name]
    if missing:
        raise ContractError(
            f"{file} lacks {len(missing):,} of {len(names):,} classes, e.g. {missing[0]}", "add a vector for each class"
        )
    selected = [by_name[name] for name in names]
    if len({len(vector) for vector in selected}) > 1:
        raise ContractError(f"{file} is ragged", "every vector needs the same length")
    table = np.array(selected, dtype=np.float64).reshape(len(names), -1)
    bad = ~np.isfinite(table).all(axis=1) | ~table.any(axis=1)
    if bad.any():
        raise ContractError(f"{file}: the vector of {names[int(bad.argmax())]} is zero or not finite")
    return table


def _read(file: Path) -> list[tuple[str, Any]]:
    """The names and vectors of a file, in its order."""
    if file.suffix == ".parquet":
        return _read_parquet(file)
    if file.suffix == ".json":
        content = files.read_json(file)
        if not isinstance(content, dict) or not all(_is_vector(value) for value in content.values()):
            raise ContractError(f"{file} is not an object of class names and lists of numbers")
        return list(content.items())
    if file.suffix == ".csv":
        return _read_csv(file)
    raise UsageError(f"--class-embeddings {file}", "its name must end in .parquet, .csv or .json")


def _read_parquet(file: Path) -> list[tuple[str, Any]]:
    columns = parquet_files.column_types(file)
    key = next((name for name in ("class", "id") if name in columns), None)
    if key is None or "embedding" not in columns:
        raise ContractError(f"{file} lacks the columns class (or id) and embedding")
    table = parquet_files.read_parquet(file, [key, "embedding"])
    vectors = to_matrix(table.column("embedding"), f"{file}: column embedding")
    return list(zip(map(str, table.column(key).to_pylist()), vectors, strict=True))


def _read_csv(file: Path) -> list[tuple[str, Any]]:
    """A name and its numbers a line; a first line without numbers is a header."""
    rows = list(zip(*csv_files.read_csv(file), strict=True))
    vectors = []
    for position, (name, *cells) in enumerate(rows):
        try:
            vectors.append((name or "", [float(cell or "") for cell in cells]))
        except ValueError:
            if position:
                raise ContractError(
                    f"{file}: {name} has a cell that is not a number", "a line is class,number,number,…"
                ) from None
    return vectors


def _is_vector(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
