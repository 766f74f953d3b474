"""The images that [task] names: opened, their labels aligned by name, and listed to see whether they changed."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoo_cli import console
from zoo_cli.config import Config
from zoo_cli.data import class_labels, samples, splits
from zoo_cli.data.samples import Data, Sample
from zoo_cli.errors import UsageError
from zoo_cli.store import provenance
from zoo_cli.store.remote_files import list_uris
from zoo_cli.text_escapes import quote


@dataclass(frozen=True)
class DataPart:
    """One data spec of the task: which part it belongs to, and its index within that part."""

    name: str
    number: int
    data: Data

    def entries(self) -> Iterator[tuple[str, Sample]]:
        """Its samples, each with its id in the manifest."""
        for sample in self.data.samples():
            yield splits.sample_id(sample.id, self.name, self.number, self.data.own_ids), sample


def data_specs(settings: Config) -> dict[str, Sequence[str]]:
    """The data specs of each part; a test part drawn from the training images has none."""
    task = settings.task
    test = task.test if splits.parse_test_share(task.test) is None else ()
    return {"train": task.train, "unlabelled": task.unlabelled, "test": test}


def open_parts(settings: Config, specs: Mapping[str, Sequence[str]]) -> list[DataPart]:
    """Every data spec opened, its labels aligned by name with the classes of the training images."""
    opened = {
        part: [samples.open_data(spec, settings.root, follow_links=settings.task.follow_links) for spec in part_specs]
        for part, part_specs in specs.items()
    }
    classes = samples.union_classes(opened["train"])
    if classes is None:
        raise UsageError("the training images have no classes", opened["train"][0].label_hint())
    if len(classes) == 1:
        raise one_class_error(classes[0])
    for spec, data in zip(specs["test"], opened["test"], strict=True):
        if data.classes is None:
            console.warn(f"the test images of {spec} have no labels: {data.label_hint()}")
    note = class_labels.case_note(classes)
    if note:
        console.warn(note)
    parts = []
    for part, data_sets in opened.items():
        for number, (spec, data) in enumerate(zip(specs[part], data_sets, strict=True)):
            for note in data.notes:
                console.warn(note)
            aligned = samples.align_labels(data, classes, spec, forget=part == "unlabelled")
            parts.append(DataPart(part, number, aligned))
    return parts


def one_class_error(name: str) -> UsageError:
    """The error for a task whose training images are all of one class."""
    return UsageError(
        f"the training images are all of one class, {quote(name)}", "a task needs two: check the folders or labels"
    )


def list_files(settings: Config, specs: Mapping[str, Sequence[str]]) -> str:
    """A digest of the names and sizes of the files of the data specs, without reading an image."""
    root, follow = settings.root, settings.task.follow_links
    listing: list[Any] = []
    for spec in (spec for part in specs.values() for spec in part):
        if (uri := samples.find_remote(spec, root)) is not None:
            listing.append([spec, [(str(file), size) for file, size in list_uris(uri)]])
            continue
        data = samples.data_path(spec, root)
        paths = sorted(_walk(data, follow) or map(str, samples.match_data(data, root)))
        listing.append([spec, [(os.path.relpath(path, root), _size(path)) for path in paths]])
    return provenance.fingerprint(listing)


def _walk(top: str | os.PathLike[str], follow_links: bool) -> list[str]:
    """The files below a folder; those of a folder to which several links lead once, so that a loop of links ends."""
    paths, walked = [], set()
    for folder, folders, names in os.walk(top, followlinks=follow_links):
        resolved = os.path.realpath(folder) if follow_links else folder
        if resolved in walked:
            folders.clear()
            continue
        walked.add(resolved)
        paths += [os.path.join(folder, name) for name in names]
    return paths


def _size(path: str) -> int:
    """The size of a file in bytes; -1 if it cannot be read, e.g. a broken link: its image only counts as a failure."""
    try:
        return os.path.getsize(path)
    except OSError:
        return -1
