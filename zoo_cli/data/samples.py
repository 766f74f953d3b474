"""What every data provider returns: samples in a fixed order, read lazily."""

import difflib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from zoo_cli import registry, specs
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.spec_paths import is_uri
from zoo_cli.store.parquet_images import ImagePlace
from zoo_cli.store.path_patterns import expand_braces, match_paths
from zoo_cli.text_escapes import quote


@dataclass(frozen=True)
class Sample:
    """One image of a data set.

    `path`: the image file as a posix path, relative to the workspace if it lies inside, else absolute, so that
    `root / path` is the file in both cases. `image`: the encoded bytes of an image without a file of its own. Exactly
    one of the two is set. `place`: where a parquet file holds these bytes. `label`: a position in the data set's class
    list, None if unknown. `group`: a name shared by images that belong together (one patient, one tile), None without
    groups.
    """

    id: str
    path: str | None
    image: bytes | None
    label: int | None
    group: str | None = None
    place: ImagePlace | None = None

    def source(self, root: Path) -> bytes | Path:
        """What to decode: the encoded bytes, or the path of the file."""
        if self.image is not None:
            return self.image
        assert self.path is not None
        return root / self.path


@dataclass(frozen=True)
class Data:
    """A data set as its provider reads it.

    `classes`: names in label order, None without labels. `samples()` starts a new pass, streaming, in the same order
    every time. `own_ids`: whether the ids come from the data itself; otherwise they are made from file names or row
    numbers and are unique only within this data set. `notes`: warnings for the user, one line each. `label_hint()`: why
    it has no classes, and what to do. `passed_over()`: the files that are not read, relative to the data set.
    """

    classes: tuple[str, ...] | None
    samples: Callable[[], Iterator[Sample]]
    own_ids: bool = False
    notes: tuple[str, ...] = ()
    label_hint: Callable[[], str] = lambda: "it has no labels"
    passed_over: Callable[[], Iterable[str]] = tuple


def open_data(spec: str, root: Path, *, follow_links: bool = False) -> Data:
    """Open the data set of a spec `provider:rest`; its paths are relative to `root`.

    `follow_links`: read what is behind links that leave the folders of the spec too. Raises UsageError for an unknown
    provider or a missing file or folder, ContractError for files that break their contract (some of them only while the
    samples are read).
    """
    name, rest = specs.provider("data provider", spec)
    if is_uri(rest) and name != "parquet":
        raise UsageError(f"{spec}: only parquet data can be behind a URI", "write parquet files, or copy it here")
    data: Data = registry.load(registry.DATA[name])(rest, root, follow_links)
    return data


def union_classes(parts: Iterable[Data]) -> tuple[str, ...] | None:
    """The class list of several data sets: the first one's, then the names that later ones add, in their order.

    None if no part has labels.
    """
    lists = [data.classes for data in parts if data.classes is not None]
    return tuple(dict.fromkeys(name for names in lists for name in names)) if lists else None


def align_labels(data: Data, classes: tuple[str, ...], where: str, *, forget: bool = False) -> Data:
    """The same samples with labels as positions in `classes`. Classes are matched by name, never by position.

    A data set may lack some classes: a test folder without `dog` shifts nothing. A class that is not in `classes` loses
    its labels with `forget` (unlabelled images, whose folders may be albums instead of classes); else it raises
    ContractError. `where` names the data set in that message.
    """
    own = data.classes
    if own is None or own == classes:
        return data
    number = {name: position for position, name in enumerate(classes)}
    for name in own:
        if name not in number and not forget:
            close = difflib.get_close_matches(name, classes, n=1, cutoff=0.5)
            guess = f"did you mean {quote(close[0])}? " if close else ""
            raise ContractError(
                f"class {quote(name)} of {where} is not one of the task's {len(classes)} classes",
                f"{guess}the classes are those of the training images, the first is {quote(classes[0])}",
            )
    new = [number.get(name) for name in own]

    def samples() -> Iterator[Sample]:
        for sample in data.samples():
            yield sample if sample.label is None else replace(sample, label=new[sample.label])

    return replace(data, classes=classes, samples=samples)


OPTIONS: Mapping[str, tuple[str, ...]] = {
    "folder": ("label",),
    "parquet": ("label",),
    "csv": ("path", "label", "root", "delimiter"),
    "jsonl": ("path", "label", "root"),
    "arrow": ("label",),
    "wds": ("label", "image"),
}
"""What may follow the path of a provider, as in `csv:t.csv?label=kind&root=images`."""


def split_options(provider: str, rest: str, root: Path) -> tuple[str, dict[str, str]]:
    """The path of a spec and its options. A path that exists as it is has none.

    Raises UsageError for an option that the provider does not have.
    """
    path, options = specs.split_query(rest)
    if provider == "parquet" and is_uri(rest):
        own = {key: value for key, value in options.items() if key in OPTIONS[provider]}
        others = "&".join(f"{key}={value}" for key, value in options.items() if key not in own)
        return (f"{path}?{others}" if others else path), own  # the others are for its file system
    if provider not in OPTIONS or not options or resolve_path(rest, root).exists():
        return rest, {}
    for key in options:
        if key not in OPTIONS[provider]:
            raise specs.nearest(f"option of {provider}:{path}", key, OPTIONS[provider])
    return path, options


def match_data(pattern: Path, root: Path) -> list[Path]:
    """The files that match a path or pattern, sorted. A pattern leaves out what zoo itself writes into `root`.

    Braces stand for several patterns, as in `shard-{000..009}.tar`. Raises ContractError if only some of them match.
    """
    written = {root / "manifest.parquet", root / "ranking.parquet"}
    patterns = expand_braces(pattern)
    files: set[Path] = set()
    missing: list[Path] = []
    for each in patterns:
        matches = [path for path in match_paths(each) if path.is_file() and (path == each or path not in written)]
        files.update(matches)
        missing += [] if matches else [each]
    if files and missing:
        count = f"{len(missing):,} of {len(patterns):,} files are missing, e.g. {quote(missing[0].name)}"
        what = f"{quote(missing[0].name)} is missing" if len(missing) == 1 else count
        raise ContractError(f"{quote(str(pattern))}: {what}", "fetch it, or leave it out of the braces")
    return sorted(files, key=str)


def data_path(spec: str, root: Path) -> Path:
    """The path or pattern of a spec, without its options."""
    provider, _, rest = spec.partition(":")
    return resolve_path(split_options(provider, rest, root)[0], root)


def find_remote(spec: str, root: Path) -> str | None:
    """The URI or pattern of a spec of remote data, without options of its provider; None for any other spec."""
    provider, _, rest = spec.partition(":")
    return split_options(provider, rest, root)[0] if provider == "parquet" and is_uri(rest) else None


def resolve_path(rest: str, root: Path) -> Path:
    """The file or folder of a spec, relative to the workspace `root`; `~` is the home folder."""
    path = Path(rest).expanduser()
    if path.parts[:1] != ("..",):
        return root / path
    # Step by step from the real folder: `root/..` cannot be opened before `root` is made, and is not beside a link.
    base = root.resolve()
    while path.parts[:1] == ("..",):
        base, path = base.parent, Path(*path.parts[1:])
    return base / path


def sample_path(path: Path, root: Path) -> str:
    """A sample's `path`, posix: relative if it lies inside `root`, else absolute. Links are not followed."""
    absolute = Path(os.path.abspath(path))
    base = os.path.abspath(root)
    return (absolute.relative_to(base) if absolute.is_relative_to(base) else absolute).as_posix()


def is_within(path: Path | str, real: str) -> bool:
    """Whether a path, all links followed, lies inside the folder with the real path `real`."""
    return Path(os.path.realpath(path)).is_relative_to(real)


def number_classes(largest: int, where: str) -> tuple[str, ...]:
    """Class names of numeric labels: "0" to the largest. Raises ContractError from a million on."""
    if largest >= 1_000_000:
        raise ContractError(
            f"label {largest} is too large for a class number ({where})", "number the classes from 0, or name them"
        )
    return tuple(map(str, range(largest + 1)))
