"""What every data provider gives: samples in one fixed order, read as they are asked for."""

import difflib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from zoo_cli import registry, specs
from zoo_cli.errors import ContractError


@dataclass(frozen=True)
class Sample:
    """One image of a data set.

    `path`: the file, posix; relative to the workspace where it lies inside it, else absolute, so that `root / path` is
    the file in both cases. `image`: the encoded file where the provider has no file of its own. Exactly one of the two
    is set. `label`: a position in the data's class list, None where unknown. `group`: images that belong together
    (one patient, one tile), None where there is no such thing.
    """

    id: str
    path: str | None
    image: bytes | None
    label: int | None
    group: str | None = None

    def source(self, root: Path) -> bytes | Path:
        """What to decode: the bytes of the file, or where it lies."""
        if self.image is not None:
            return self.image
        assert self.path is not None
        return root / self.path


@dataclass(frozen=True)
class Data:
    """A data set as its provider found it.

    `classes`: names in label order, None where the data has no labels. `samples()` starts a new pass: streaming, the
    same order every time. `own_ids`: the ids stand in the data itself; otherwise they are made from file names or row
    numbers and say nothing outside this data set. `notes`: what the user should hear, one line each.
    """

    classes: tuple[str, ...] | None
    samples: Callable[[], Iterator[Sample]]
    own_ids: bool = False
    notes: tuple[str, ...] = ()


def open_data(spec: str, root: Path) -> Data:
    """The data set that `provider:rest` names; its paths are relative to `root`.

    Raises UsageError for an unknown provider or a missing place, ContractError for files that break their contract
    (some of them only while the samples are read).
    """
    name, rest = specs.provider("data provider", spec)
    data: Data = registry.load(registry.DATA[name])(rest, root)
    return data


def union_classes(parts: Iterable[Data]) -> tuple[str, ...] | None:
    """The class list of several data sets: the first one's, then the names that only later ones have, in their order.

    None where no part has labels.
    """
    lists = [data.classes for data in parts if data.classes is not None]
    return tuple(dict.fromkeys(name for names in lists for name in names)) if lists else None


def align_labels(data: Data, classes: tuple[str, ...], where: str, *, forget: bool = False) -> Data:
    """The same samples, labelled by their position in `classes`. Classes are matched by name, never by position.

    A data set that lacks some classes is fine: a test folder without `dog` shifts nothing. One with a class that
    `classes` does not have raises ContractError naming it, or, with `forget` (images given as unlabelled, whose folders
    may be albums and no classes), loses those labels.
    """
    own = data.classes
    if own is None or own == classes:
        return data
    number = {name: position for position, name in enumerate(classes)}
    for name in own:
        if name not in number and not forget:
            close = difflib.get_close_matches(name, classes, n=1, cutoff=0.5)
            guess = f"did you mean {shown(close[0])}? " if close else ""
            raise ContractError(
                f"class {shown(name)} of {where} is none of the task's {len(classes)} classes",
                f"{guess}the classes are those of the training images, the first is {shown(classes[0])}",
            )
    new = [number.get(name) for name in own]

    def samples() -> Iterator[Sample]:
        for sample in data.samples():
            yield sample if sample.label is None else replace(sample, label=new[sample.label])

    return replace(data, classes=classes, samples=samples)


def resolve_path(rest: str, root: Path) -> Path:
    """The file or folder that a user wrote, relative to the workspace `root`; `~` is the home folder."""
    return root / Path(rest).expanduser()


def located(path: Path, root: Path) -> str:
    """The posix text of a sample's `path`: relative where it lies inside `root`, else absolute. Follows no links."""
    absolute = Path(os.path.abspath(path))
    base = os.path.abspath(root)
    return (absolute.relative_to(base) if absolute.is_relative_to(base) else absolute).as_posix()


def beside(text: str, folder: Path, where: str) -> Path:
    """The file that a table in `folder` names, which must lie inside `folder`, links followed.

    Raises ContractError for an absolute path, `..`, a NUL, or a link that leaves the folder.
    """
    pure = PurePosixPath(text)
    if text and "\0" not in text and not pure.is_absolute() and ".." not in pure.parts:
        path = folder / pure
        if within(path, os.path.realpath(folder)):
            return path
    raise ContractError(
        f"path {shown(text)} leaves the folder of its table ({where})", "write paths relative to the table, without .."
    )


def within(path: Path | str, real: str) -> bool:
    """Whether a path, every link followed, lies inside the folder whose real path is `real`."""
    return Path(os.path.realpath(path)).is_relative_to(real)


def shown(name: str) -> str:
    """A name in quotes, fit for one line of a terminal: what cannot be printed is escaped."""
    return f'"{name}"' if name.isprintable() else ascii(name)


def numbered(largest: int, where: str) -> tuple[str, ...]:
    """Class names for labels that are only numbers: "0" to the largest. Raises ContractError beyond a million."""
    if largest >= 1_000_000:
        raise ContractError(f"label {largest} is no class number ({where})", "number the classes from 0, or name them")
    return tuple(map(str, range(largest + 1)))
