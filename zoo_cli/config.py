"""`zoo.toml` as dataclasses: what the task is, which student, which sources. Flags override it, stage by stage."""

import difflib
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from zoo_cli.errors import UsageError

FILE = "zoo.toml"
STUDENT = "@student"

T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    """The target task: its images, how many of their labels may be used, and the probe set."""

    name: str = "task"
    aliases: tuple[str, ...] = ()
    train: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()
    labelled: str = "all"
    probe: int | str = 500
    probe_per_class: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Source:
    """A model as the user declares it: None and "" mean what the provider knows by itself.

    `classes`: how many outputs, or their names; 0 means no head. `resize` is the shorter side before a centre crop of
    `input_size`; without it the whole image becomes `input_size` squared.
    """

    name: str
    model: str
    args: Mapping[str, Any] = field(default_factory=dict)
    weights: str = ""
    input_size: int | None = None
    resize: int | None = None
    interpolation: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channels: int | None = None
    classes: int | tuple[str, ...] | None = None
    output: str = "softmax"
    trained_on: tuple[str, ...] = ()
    feature_layer: str = ""
    gradient_layer: str = ""
    head: bool = True
    depth: int | None = None


@dataclass(frozen=True)
class Preprocessing:
    """What happens to an image before a model sees it, as the model's provider or the user says.

    With `resize` the shorter side becomes `resize` and a centre crop of `input_size` is taken; without it the whole
    image becomes `input_size` squared. `mean` and `std` are for values in [0, 1], one a channel (1: gray, 3: RGB).
    """

    input_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: int | None = None
    interpolation: str = "bilinear"
    channels: int = 3


@dataclass(frozen=True)
class Config:
    """A workspace: its folder, to which every path is relative, and what its `zoo.toml` says."""

    root: Path
    task: Task = field(default_factory=Task)
    student: Source | None = None
    sources: tuple[Source, ...] = ()

    def named(self, name: str) -> Source:
        """The source of this name, or the student as "@student". Raises UsageError with the nearest name."""
        known = {source.name: source for source in self.models}
        if name in known:
            return known[name]
        close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
        guess = f"did you mean {close[0]}? " if close else ""
        raise UsageError(f'no source "{name}"', f"{guess}one of: {', '.join(sorted(known)) or 'none'}")

    @property
    def manifest(self) -> Path:
        """Every sample of the task."""
        return self.root / "manifest.parquet"

    @property
    def classes(self) -> Path:
        """The class names in label order."""
        return self.root / "classes.json"

    def features(self, source: str) -> Path:
        """The folder of a source's stored outputs."""
        return self.root / "features" / f"source={source}"

    def gradients(self, source: str) -> Path:
        """The folder of a source's stored gradients."""
        return self.root / "gradients" / f"source={source}"

    def pseudo(self, source: str) -> Path:
        """The folder of a source's pseudo-labels."""
        return self.root / "pseudo" / f"source={source}"

    def scores(self, slug: str) -> Path:
        """The folder of the scores of one metric spec, a file a source."""
        return self.root / "scores" / slug

    def errors(self, stage: str) -> Path:
        """The samples that failed in a stage."""
        return self.root / "errors" / f"{stage}.parquet"

    def run(self, name: str) -> Path:
        """The folder of a run."""
        return self.root / "runs" / name

    def with_task(self, **values: Any) -> "Config":
        """The same with some keys of [task] from flags; None leaves what is said, a list is one of data specs."""
        said: dict[str, Any] = {
            key: tuple(typed(spec, self.root) for spec in value) if isinstance(value, list) else value
            for key, value in values.items()
            if value is not None
        }
        return replace(self, task=replace(self.task, **said))

    def select(self, names: Sequence[str]) -> tuple[Source, ...]:
        """The sources that --source names, by name or as a bare model spec; all where it names none."""
        if not names:
            return self.sources
        known = {source.name for source in self.models}
        return tuple(
            self.named(name) if name in known or ":" not in name else Source(source_name(name), typed(name, self.root))
            for name in names
        )

    def declared(self, source: Source) -> dict[str, Any]:
        """What a source's features and logits depend on, as its user wrote it; JSON-able."""
        skipped = ("name", "trained_on", "depth", "gradient_layer")
        said = {f.name: getattr(source, f.name) for f in fields(Source) if f.name not in skipped}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in said.items()}

    @property
    def models(self) -> tuple[Source, ...]:
        """The sources and, last, the student under the name "@student"."""
        return self.sources + ((replace(self.student, name=STUDENT),) if self.student else ())


def load(root: Path) -> Config:
    """The configuration of the workspace `root`; the defaults where it holds no `zoo.toml`.

    Raises UsageError for a file that is no TOML, an unknown key or a value of the wrong type.
    """
    path = root / FILE
    if not path.exists():
        return Config(root)
    try:
        data = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is no TOML: {error}", "mend the line it names") from None
    for key in data:
        _known(key, {"task", "student", "source"}, str(path))
    task = _build(Task, _table(data.get("task", {}), "[task]", path), f"[task] of {path}")
    student = None
    if "student" in data:
        said = {"name": "student", **_table(data["student"], "[student]", path)}
        student = _build(Source, said, f"[student] of {path}")
    sources: list[Source] = []
    entries = data.get("source", [])
    if not isinstance(entries, list):
        raise UsageError(f"[source] of {path} is one table", "write [[source]], with two brackets")
    for number, entry in enumerate(entries, 1):
        where = f"[[source]] {number} of {path}"
        table = _table(entry, where, path)
        if "name" not in table:
            table = {"name": source_name(str(table.get("model", ""))), **table}
        source = _build(Source, table, where)
        _check_name(source.name, where)
        if any(source.name == other.name for other in sources):
            raise UsageError(f'two sources of {path} are named "{source.name}"', "give one another name")
        sources.append(source)
    return Config(root, task, student, tuple(sources))


def typed(spec: str, root: Path) -> str:
    """A spec as it is typed, its path relative to where the user stands, in the words of the zoo.toml of `root`."""
    provider, _, rest = spec.partition(":")
    place, sign, factory = rest.partition(":") if provider == "python" else (rest, "", "")
    here = provider in ("folder", "parquet", "csv", "file", "python", "features")
    if not here or not place or place.startswith("~") or os.path.isabs(place) or root.resolve() == Path.cwd():
        return spec
    return f"{provider}:{Path(os.path.relpath(place, root)).as_posix()}{sign}{factory}"


def source_name(model: str) -> str:
    """The name of a source that is given as a bare model spec: `file:zoo/cub` is `cub`."""
    _, _, rest = model.partition(":")
    stem = Path(rest.rstrip("/")).name if rest else model
    for ending in (".parquet", ".safetensors"):
        stem = stem.removesuffix(ending)
    return stem.replace(":", "-") or "source"


def _check_name(name: str, where: str) -> None:
    if not name or name.startswith((".", "@")) or any(c in "/\\=" or ord(c) < 32 for c in name):
        raise UsageError(
            f'"{name}" of {where} cannot name a source', "it becomes a folder: no / \\ = and no leading . or @"
        )


def _table(value: Any, where: str, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{where} of {path} is no table", f"write its keys under {where}")
    return value


def _known(key: str, names: set[str], where: str) -> None:
    if key not in names:
        close = difflib.get_close_matches(key, sorted(names), n=1, cutoff=0.5)
        guess = f"did you mean {close[0]}? " if close else ""
        raise UsageError(f'unknown key "{key}" in {where}', f"{guess}one of: {', '.join(sorted(names))}")


def _build(kind: type[T], table: dict[str, Any], where: str) -> T:
    known = {f.name: _type_text(f.type) for f in fields(kind)}  # type: ignore[arg-type]
    values = {}
    for key, value in table.items():
        _known(key, set(known), where)
        values[key] = _check(key, value, known[key], where)
    for key in ("name", "model"):
        if kind is Source and not values.get(key):
            raise UsageError(f'no "{key}" in {where}', 'every source needs one, e.g. model = "torchvision:resnet18"')
    if kind is Source and values.get("output", "softmax") not in ("softmax", "sigmoid"):
        raise UsageError(f'output = "{values["output"]}" in {where}', "softmax or sigmoid")
    return kind(**values)


def _type_text(kind: object) -> str:
    text = kind.__name__ if isinstance(kind, type) else str(kind)
    return text.replace("collections.abc.", "").replace("typing.", "")


def _check(key: str, value: Any, annotation: str, where: str) -> Any:
    """One value as its annotation wants it. The annotation's text is the whole schema."""
    options = [option.strip() for option in annotation.split("|")]
    wanted = " or ".join(_PLAIN[option] for option in options if option != "None")
    if "Mapping[str, Any]" in options and isinstance(value, dict):
        return value
    for option in options:
        if option.startswith("tuple["):
            items = [value] if isinstance(value, str) and key in ("train", "test", "unlabelled") else value
            if isinstance(items, list) and all(_is(item, option[6:-6]) for item in items):
                return tuple(float(item) if "float" in option else item for item in items)
        elif _is(value, option):
            return value
    if key == "labelled" and _is(value, "int"):
        return str(value)
    if key == "classes" and _is(value, "str"):
        return (value,)  # a file with one name a line, read where the model is loaded
    raise UsageError(f"{key} = {value!r} in {where}", f"it takes {wanted}")


_PLAIN = {
    "int": "a whole number",
    "str": "a text",
    "bool": "true or false",
    "float": "a number",
    "tuple[str, ...]": "a list of texts",
    "tuple[float, ...]": "a list of numbers",
    "Mapping[str, Any]": "a table",
}


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "bool"
    accepted: dict[str, tuple[type, ...]] = {"int": (int,), "str": (str,), "float": (int, float)}
    return isinstance(value, accepted.get(kind, ()))
