"""What the checks of `zoo verify` share: a check, what it may report, and what it knows of the workspace."""

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from zoo_cli.config import Config, Source
from zoo_cli.errors import ContractError, ZooError
from zoo_cli.store import checksums, feature_files, parquet_files
from zoo_cli.store.feature_files import StoredOutputs
from zoo_cli.store.manifest import Images
from zoo_cli.store.schemas import Schema

T = TypeVar("T")
State = Literal["damaged", "stale", "unfinished", "unchecked", "leftover"]
"""What a finding says; only damage makes a workspace unsound."""


class Reported(Exception):
    """What a check reports beside the errors of readers."""

    def __init__(self, state: State, problem: str):
        super().__init__(state, problem)
        self.state: State = state
        self.problem = problem


@dataclass(frozen=True)
class Check:
    """One artifact. `read` reads it as its readers do, and raises a ZooError or Reported; `command` makes it again."""

    path: Path
    read: Callable[[], object]
    command: str = ""


@dataclass(frozen=True)
class Known:
    """What the checks know of a workspace; None for what is missing or damaged, which its own check reports.

    `failed`: the ids of the images that failed in extract. `classes`: the number of classes of the task.
    """

    settings: Config
    images: Images | None
    failed: frozenset[str] | None
    classes: int | None

    def find_source(self, name: str) -> Source | None:
        """The source of this name in zoo.toml; None without one."""
        return next((source for source in self.settings.models if source.name == name), None)


def join_command(*words: str) -> str:
    """A command of zoo as a shell reads it."""
    return shlex.join(["zoo", *words])


def report_missing(path: Path, *, was_there: bool = True) -> None:
    """Raise ContractError for a file that is missing, or Reported for one that has not been there."""
    if was_there:
        raise ContractError(f"{path} is missing")
    raise Reported("unfinished", f"{path} is not made yet")


def try_to_read(read: Callable[[], T]) -> T | None:
    """What a reader returns; None where it raises an error, which another check reports."""
    try:
        return read()
    except ZooError:
        return None


def list_digests(folder: Path, present: Sequence[Path], command: str) -> Iterator[Check]:
    """The checks of the SHA256SUMS of a folder, of every file that it lists, and that it lists those that are present.

    Without it, one that says so.
    """
    if not (folder / checksums.SUMS).exists():
        if present:
            yield Check(folder, partial(_report_unchecked, folder), command)
        return
    yield Check(folder / checksums.SUMS, partial(_check_sums, folder, present), command)
    for name in try_to_read(partial(checksums.read_sums, folder)) or ():
        yield Check(folder / name, partial(checksums.check_listed, folder, name), command)


def _report_unchecked(folder: Path) -> None:
    raise Reported("unchecked", f"{folder} has no {checksums.SUMS}, as of earlier versions: not all is checked")


def _check_sums(folder: Path, present: Sequence[Path]) -> None:
    listed = checksums.read_sums(folder)
    missing = [name for path in present if (name := path.relative_to(folder).as_posix()) not in listed]
    if missing:
        raise ContractError(f"{folder / checksums.SUMS} does not list {missing[0]}")


def check_tag(path: Path, schema: Schema) -> None:
    """Raise ContractError unless a parquet file says that it is of this schema."""
    tag = parquet_files.read_header(path).get("schema")
    if tag != schema.tag:
        raise ContractError(f"{path} is {f'a {tag}' if tag else 'not a file of zoo'}, not a {schema.tag}")


def read_outputs(path: Path, schema: Schema, columns: tuple[str, ...], output: str = "softmax") -> StoredOutputs:
    """The rows of one part, of which at least one of the columns must be there. Raises ContractError."""
    check_tag(path, schema)
    outputs = feature_files.load_outputs(path, columns=columns, output=output)
    if all(getattr(outputs, column) is None for column in columns) and len(outputs.ids):
        raise ContractError(f"{path} has no column {' or '.join(columns)}")
    return outputs


def check_ids(path: Path, ids: np.ndarray, expected: np.ndarray, failed: frozenset[str] | None) -> None:
    """Raise ContractError unless the ids of a part are the expected ones in their order, but for images that failed.

    `failed` None: any may be missing.
    """
    listed = set(ids)
    missing = [str(name) for name in expected if name not in listed]
    if list(ids) != [name for name in expected if name in listed]:
        raise ContractError(f"{path}: its ids are not those of the manifest, in its order")
    lost = [] if failed is None else [name for name in missing if name not in failed]
    if lost:
        raise ContractError(f"{path} lacks {len(lost):,} images that have not failed, e.g. {lost[0]}")
