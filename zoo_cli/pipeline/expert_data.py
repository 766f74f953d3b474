"""The images and classes of the domains of an expert, read and checked without a manifest."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from zoo_cli import config, console
from zoo_cli.config import Config, Task
from zoo_cli.data import splits
from zoo_cli.data.hold_out import draw_hold_out
from zoo_cli.errors import ContractError, UsageError, ZooError
from zoo_cli.pipeline.expert_config import DomainSpec
from zoo_cli.pipeline.manifest_rows import ManifestRow, check_images
from zoo_cli.pipeline.task_data import DataPart, one_class_error, open_parts
from zoo_cli.store.domain_images import DomainImages
from zoo_cli.store.manifest import NO_LABEL
from zoo_cli.store.parquet_images import ImagePlace
from zoo_cli.store.text_column import TextColumn

MAX_FAILED = 0.01
"""The share of unreadable images from which a domain is refused, as in `zoo split`."""


@dataclass(frozen=True)
class Domains:
    """The domains of an expert: their names, their classes (C_d,) in label order, and all of their images."""

    names: tuple[str, ...]
    classes: tuple[tuple[str, ...], ...]
    images: DomainImages

    def rows(self, domain: int, split: str) -> np.ndarray:
        """The rows (M,) of a domain in a split, "labelled" or "test"."""
        images = self.images
        return np.flatnonzero((images.domain == domain) & (images.split == split))


@dataclass(frozen=True)
class _Domain:
    """One domain: the rows of its readable images with their splits, its classes, and the images that no file holds."""

    rows: list[ManifestRow]
    classes: tuple[str, ...]
    embedded: dict[str, bytes]


def load_domains(root: Path, domains: Sequence[DomainSpec], seed: int, workers: int | None) -> Domains:
    """Read, check and hash the images of all domains; a share of each is set aside for its test.

    `root`: the workspace, to which relative paths of the specs, as typed, are rebased. Raises UsageError or
    ContractError, naming the domain, for images that cannot be trained on.
    """
    loaded = []
    for domain in domains:
        try:
            loaded.append(_load_domain(root, domain, seed, workers))
        except ZooError as error:
            raise type(error)(f"domain {domain.name}: {error.message}", error.hint) from None
    return _join([domain.name for domain in domains], loaded, root)


def _load_domain(root: Path, domain: DomainSpec, seed: int, workers: int | None) -> _Domain:
    share = splits.parse_test_share([domain.test] if domain.test else [])
    train = (config.rebase_spec(domain.train, root),)
    test = () if share is not None else (config.rebase_spec(domain.test, root),)
    settings = Config(root, Task(domain.name, train=train, test=test))
    parts = open_parts(settings, {"train": train, "test": test})
    classes = parts[0].data.classes or ()
    checked, _, failed = check_images(settings, parts, workers)
    if failed:
        text = f"{len(failed):,} of {len(checked) + len(failed):,} images cannot be read, e.g. {failed[0].id}: "
        if len(failed) > MAX_FAILED * (len(checked) + len(failed)):
            raise ContractError(text + failed[0].error, "remove or replace them")
        console.warn(f"domain {domain.name}: {text}{failed[0].error}; they are left out")
    rows = [row for row in checked if row.label is not None]
    if len(rows) < len(checked):
        console.warn(f"domain {domain.name}: {len(checked) - len(rows):,} images without a label are left out")
    train_labels = {row.label for row in rows if row.data == "train"}
    if len(train_labels) < 2:
        if not train_labels:
            raise UsageError("no labelled image to train on", "an expert learns from labels")
        raise one_class_error(classes[train_labels.pop() or 0])
    rows = _draw_splits(rows, share, seed)
    counts = [sum(row.split == split for row in rows) for split in ("labelled", "test")]
    console.say(f"domain {domain.name}: {counts[0]:,} images to train, {counts[1]:,} to test, {len(classes)} classes")
    return _Domain(rows, classes, _read_embedded(parts, rows))


def _draw_splits(rows: Sequence[ManifestRow], share: float | None, seed: int) -> list[ManifestRow]:
    """The rows in their splits: without test images of its own, a stratified share of a domain is set aside."""
    test = {position for position, row in enumerate(rows) if row.data == "test"}
    if share:
        columns = [row.id for row in rows], [row.label for row in rows], [row.group for row in rows]
        test = set(draw_hold_out(range(len(rows)), *columns, frozenset(), share, seed).positions)
    return [row.in_split("test" if position in test else "labelled", probe=False) for position, row in enumerate(rows)]


def _read_embedded(parts: Sequence[DataPart], rows: Sequence[ManifestRow]) -> dict[str, bytes]:
    wanted = {row.id for row in rows if row.path is None and row.file is None}
    if not wanted:
        return {}
    return {name: sample.image or b"" for part in parts for name, sample in part.entries() if name in wanted}


def _join(names: Sequence[str], domains: Sequence[_Domain], root: Path) -> Domains:
    rows = [
        replace(row, id=f"{name}/{row.id}") for name, domain in zip(names, domains, strict=True) for row in domain.rows
    ]
    numbers = [number for number, domain in enumerate(domains) for _ in domain.rows]
    embedded = {
        f"{name}/{key}": data
        for name, domain in zip(names, domains, strict=True)
        for key, data in domain.embedded.items()
    }
    labels = [row.label if row.label is not None else NO_LABEL for row in rows]
    known = [row.truth if row.truth is not None else label for row, label in zip(rows, labels, strict=True)]
    places = {
        position: ImagePlace(row.file, row.column or "", row.row_group or 0, row.row or 0)
        for position, row in enumerate(rows)
        if row.file is not None
    }

    def column(values: Sequence[object]) -> np.ndarray:
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return array

    images = DomainImages(
        root,
        root,
        TextColumn.of([row.id for row in rows]),
        column([row.data for row in rows]),
        column([row.split for row in rows]),
        np.zeros(len(rows), dtype=bool),
        np.array(labels, dtype=np.int64),
        TextColumn.of([row.sha256 for row in rows]),
        TextColumn.of([row.path for row in rows]),
        places,
        domain=np.array(numbers, dtype=np.int64),
        known=np.array(known, dtype=np.int64),
        embedded={position: embedded[row.id] for position, row in enumerate(rows) if row.id in embedded},
    )
    return Domains(tuple(names), tuple(domain.classes for domain in domains), images)
