"""The images of data specs that need no labels and are in no manifest, with the ids that a manifest would give them."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from zoo_cli import console, specs
from zoo_cli.config import Config
from zoo_cli.data import samples, splits
from zoo_cli.data.samples import Data, Sample
from zoo_cli.errors import ContractError

NEW = "new"
"""The part of images that [task] of zoo.toml does not name: the first word of their ids."""


@dataclass(frozen=True)
class NewData:
    """A data set: its spec, the part of the task it belongs to, and its index within that part."""

    spec: str
    part: str
    number: int
    data: Data


def open_new_data(settings: Config, data_specs: Sequence[str]) -> list[NewData]:
    """Open data sets by their specs, relative to the workspace. Labels are not read.

    Raises as `samples.open_data` does.
    """
    parts = {"train": settings.task.train, "test": settings.task.test, "unlabelled": settings.task.unlabelled}
    known = {
        _location(settings, spec): (part, number)
        for part, part_specs in parts.items()
        for number, spec in enumerate(part_specs)
        if ":" in spec  # "20%" is a share of train
    }
    opened: list[NewData] = []
    for spec in data_specs:
        data = samples.open_data(spec, settings.root, follow_links=settings.task.follow_links)
        for note in data.notes:
            console.warn(note)
        number = sum(other.part == NEW for other in opened)
        opened.append(NewData(spec, *known.get(_location(settings, spec), (NEW, number)), data))
    return opened


def new_entries(data_sets: Sequence[NewData]) -> Iterator[tuple[str, Sample]]:
    """The samples of all data sets, each with its id. Raises ContractError for an id that repeats."""
    seen: set[str] = set()
    for new in data_sets:
        for sample in new.data.samples():
            name = splits.sample_id(sample.id, new.part, new.number, new.data.own_ids)
            if name in seen:
                raise ContractError(f'the id "{name}" repeats in {new.spec}', "give every image an id of its own")
            seen.add(name)
            yield name, sample


def _location(settings: Config, spec: str) -> tuple[str, str]:
    """A spec with its path resolved: equal for all ways to write the same data."""
    name, _ = specs.provider("data provider", spec)
    return name, os.path.realpath(samples.data_path(spec, settings.root))
