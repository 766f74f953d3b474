"""Vectors of class names: from the user's file, or, for want of one, of how the names are spelt."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_cli.errors import ContractError, UsageError
from zoo_cli.store import files
from zoo_cli.store.columns import to_matrix

if TYPE_CHECKING:
    import numpy as np


def load_class_vectors(file: Path | None, names: Sequence[str], named: bool) -> "tuple[np.ndarray | None, str | None]":
    """Vectors (K, D) of the class names, and what they are made by: the file's name, or "spelling".

    None where there is no file and nobody has named the classes. Raises ContractError for a file that lacks a class,
    or whose vectors are ragged, not finite or zero.
    """
    from zoo_cli.evaluation import flip_concentration

    if file is None:
        return (flip_concentration.spelling_vectors(names), flip_concentration.SPELLING) if named else (None, None)
    return _chosen(_read(file), names, file), file.name


def _chosen(found: "Iterable[tuple[str, Sequence[float]]]", names: Sequence[str], file: Path) -> "np.ndarray":
    """The vectors of the names. Two classes of one name have one vector; a name may not have two."""
    import numpy as np

    known: dict[str, Any] = {}
    for name, vector in found:
        if name in known and not np.array_equal(known[name], vector):
            raise ContractError(f'{file} has two vectors of "{name}"', "one vector for each class name")
        known[name] = vector
    missing = [name for name in dict.fromkeys(names) if name not in known]
    if missing:
        raise ContractError(
            f"{file} lacks {len(missing):,} of {len(names):,} classes, e.g. {missing[0]}", "a vector for every class"
        )
    chosen = [known[name] for name in names]
    if len({len(vector) for vector in chosen}) > 1:
        raise ContractError(f"{file} is ragged", "every vector needs as many numbers")
    table = np.array(chosen, dtype=np.float64).reshape(len(names), -1)
    bad = ~np.isfinite(table).all(axis=1) | ~table.any(axis=1)
    if bad.any():
        raise ContractError(f"{file}: the vector of {names[int(bad.argmax())]} is zero or not finite")
    return table


def _read(file: Path) -> "list[tuple[str, Any]]":
    """The names and vectors of a file, in its order."""
    if file.suffix == ".parquet":
        return _of_parquet(file)
    if file.suffix == ".json":
        said = files.read_json(file)
        if not isinstance(said, dict) or not all(_is_vector(value) for value in said.values()):
            raise ContractError(f"{file} is no object of class names and lists of numbers")
        return list(said.items())
    if file.suffix == ".csv":
        return _of_csv(file)
    raise UsageError(f"--class-embeddings {file}", "its name ends in .parquet, .csv or .json")


def _of_parquet(file: Path) -> "list[tuple[str, Any]]":
    columns = files.column_types(file)
    key = next((name for name in ("class", "id") if name in columns), None)
    if key is None or "embedding" not in columns:
        raise ContractError(f"{file} has not the columns class (or id) and embedding")
    table = files.read_parquet(file, [key, "embedding"])
    values = to_matrix(table.column("embedding"), f"{file}: column embedding")
    return list(zip(map(str, table.column(key).to_pylist()), values, strict=True))


def _of_csv(file: Path) -> "list[tuple[str, Any]]":
    """A name and its numbers a line; a first line without numbers is a heading."""
    lines = [line for line in csv.reader(files.read_text(file).lstrip("\ufeff").splitlines()) if line]
    found = []
    for number, line in enumerate(lines):
        try:
            found.append((line[0], [float(cell) for cell in line[1:]]))
        except ValueError:
            if number:
                raise ContractError(
                    f"{file}: {line[0]} has a cell that is no number", "class,number,number,…"
                ) from None
    return found


def _is_vector(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
