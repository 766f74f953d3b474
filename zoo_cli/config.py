"""`zoo.toml` as dataclasses: the task, the student and the sources. Flags of a command override it."""

import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self, TypeVar

from zoo_cli import pixel_range, source_tables, spec_paths, specs, system_errors
from zoo_cli.config_values import convert_value
from zoo_cli.errors import UsageError
from zoo_cli.source_tables import SourceTable

FILE = "zoo.toml"
LABELS = "labels"
"""The folder of the label sets of a workspace."""
STUDENT = "@student"
STUDENT_MODEL = "torchvision:mobilenet_v3_small"
"""The student that `zoo init` writes where none is named."""

T = TypeVar("T")


def _key(about: str, example: object) -> dict[str, object]:
    """What is written about a key of zoo.toml: in the file that `zoo init` makes and in the README."""
    return {"about": about, "example": example}


@dataclass(frozen=True)
class Task:
    """The target task: its images, how many of their labels may be used, and the probe set."""

    name: str = field(default="task", metadata=_key("name of the data set; sources trained on it are excluded", "pets"))
    aliases: tuple[str, ...] = field(default=(), metadata=_key("other names of the data set", ("oxford-iiit-pet",)))
    train: tuple[str, ...] = field(
        default=(), metadata=_key("training images: PROVIDER:PATH, or a list of them", ("folder:pets/train",))
    )
    test: tuple[str, ...] = field(
        default=(), metadata=_key('test images, or a share of train; default "20%"', ("folder:pets/test",))
    )
    unlabelled: tuple[str, ...] = field(default=(), metadata=_key("more images, without labels", ("folder:pool",)))
    labelled: str = field(
        default="all", metadata=_key('labels of train to use: "10%", "5/class", "1000" (in all) or "all"', "20%")
    )
    probe: int | str = field(
        default=500, metadata=_key('labelled images on which the sources are scored, or "all"', 500)
    )
    probe_per_class: int = field(default=0, metadata=_key("at most this many of them in a class; 0: no limit", 0))
    seed: int = field(default=0, metadata=_key("random seed", 0))
    follow_links: bool = field(
        default=False, metadata=_key("read images behind links that leave the folders of the data", False)
    )


@dataclass(frozen=True)
class Source:
    """A pretrained model as declared in zoo.toml. None and "" leave a value to the model's provider.

    `classes`: the number of outputs, or their names; 0: no head. `resize`: the shorter side before a centre crop of
    `input_size`; None: the whole image is resized to `input_size` squared.
    """

    name: str = field(metadata=_key("name of the source; default: from the model", "birds"))
    model: str = field(metadata=_key("PROVIDER:NAME", "torchvision:resnet50"))
    args: Mapping[str, Any] = field(default_factory=dict, metadata=_key("keyword arguments of the model's factory", {}))
    weights: str = field(
        default="", metadata=_key("a file, a name that the provider knows, or none for random", "zoo/birds.safetensors")
    )
    card: str = field(
        default="",
        metadata=_key("JSON file with input size, mean, std and classes; keys beside it win", "zoo/birds.json"),
    )
    input_size: int | None = field(default=None, metadata=_key("side of the input in pixels", 224))
    resize: int | None = field(
        default=None, metadata=_key("shorter side before the centre crop; without it there is no crop", 256)
    )
    interpolation: str | None = field(default=None, metadata=_key("nearest, bilinear, bicubic or lanczos", "bilinear"))
    mean: tuple[float, ...] | None = field(
        default=None, metadata=_key("mean of each channel, of values in [0, 1]", (0.485, 0.456, 0.406))
    )
    std: tuple[float, ...] | None = field(
        default=None, metadata=_key("standard deviation of each channel", (0.229, 0.224, 0.225))
    )
    channels: int | None = field(default=None, metadata=_key("3: RGB, 1: grey", 3))
    classes: int | tuple[str, ...] | None = field(
        default=None, metadata=_key("number, list of names, or file with one name a line; 0: no head", 200)
    )
    output: str = field(default="softmax", metadata=_key("softmax or sigmoid", "softmax"))
    trained_on: tuple[str, ...] = field(
        default=(),
        metadata=_key("data sets seen in training; the task among them excludes it from the ranking", ("cub200",)),
    )
    trained_images: str = field(
        default="", metadata=_key("file with the sha256 of the images seen in training, one a line", "zoo/birds.sha256")
    )
    feature_layer: str = field(
        default="", metadata=_key("LAYER or LAYER:input; default: what the last linear layer reads", "")
    )
    feature_output: str = field(
        default="",
        metadata=_key("part of the output that is the feature; NAME:cls or NAME:mean of tokens", ""),
    )
    prompts: tuple[str, ...] = field(
        default=(),
        metadata=_key("clip: texts with {} for the class name, averaged; default: a photo of a {}.", ()),
    )
    class_embeddings: str = field(
        default="",
        metadata=_key("clip: parquet file with class and embedding, instead of prompts", ""),
    )
    gradient_layer: str = field(
        default="", metadata=_key("layer of the lgc metric; default: the last one before the features", "")
    )
    head: bool = field(default=True, metadata=_key("false: the last projection is part of the encoder", True))
    depth: int | None = field(default=None, metadata=_key("number of layers, for the capacity term of zoo rank", 50))


@dataclass(frozen=True)
class Key:
    """A key of zoo.toml: its meaning, an example and its default, None if it has none or the provider decides."""

    name: str
    about: str
    example: Any
    default: Any


def describe_keys(table: type[Task] | type[Source]) -> tuple[Key, ...]:
    """Every key of [task], or of [student] and [[source]], in the order of the file."""
    keys = []
    for key in fields(table):
        default = None if key.default is MISSING else key.default
        if key.default_factory is not MISSING:
            default = key.default_factory()
        keys.append(Key(key.name, key.metadata["about"], key.metadata["example"], default))
    return tuple(keys)


@dataclass(frozen=True)
class Preprocessing:
    """How an image is prepared for a model, as its provider or the user declares.

    With `resize` the shorter side becomes `resize` and a centre crop of `input_size` is taken; without it the whole
    image becomes `input_size` squared. `mean` and `std`: one value a channel (1: grey, 3: RGB), for pixels in [0, 1].
    """

    input_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: int | None = None
    interpolation: str = "bilinear"
    channels: int = 3


@dataclass(frozen=True)
class Config:
    """A workspace: its folder, to which every path is relative, and the tables of its `zoo.toml`.

    `typed`: the keys of `task` that flags have set. `labels`: the label set whose manifest, scores, ranking and
    pools these paths are, see `label_sets`; None: the main one, that of zoo.toml.
    """

    root: Path
    task: Task = field(default_factory=Task)
    student: Source | None = None
    sources: tuple[Source, ...] = ()
    typed: frozenset[str] = frozenset()
    labels: str | None = None

    def find_source(self, name: str) -> Source:
        """The source of this name, or the student as "@student". Raises UsageError with the nearest name."""
        by_name = {source.name: source for source in self.models}
        if name not in by_name:
            raise specs.nearest("source", name, by_name)
        return by_name[name]

    @property
    def labels_root(self) -> Path:
        """The folder of all that depends on which images are labelled, but for the runs."""
        return self.root if self.labels is None else self.root / LABELS / self.labels

    @property
    def manifest(self) -> Path:
        """Every sample of the task."""
        return self.labels_root / "manifest.parquet"

    @property
    def ranking(self) -> Path:
        """The last ranking; the weights of its sources are beside it."""
        return self.labels_root / "ranking.parquet"

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

    def pseudo_head(self, slug: str) -> Path:
        """The folder of the answers of a pool of heads."""
        return self.labels_root / "pseudo" / f"head={slug}"

    def scores(self, slug: str) -> Path:
        """The folder of the scores of one metric spec, a file a source."""
        return self.labels_root / "scores" / slug

    def errors(self, stage: str) -> Path:
        """The samples that failed in a stage."""
        return self.root / "errors" / f"{stage}.parquet"

    def run(self, name: str) -> Path:
        """The folder of a run."""
        return self.root / "runs" / name

    def default_run(self, name: str) -> Path:
        """The folder of a run whose name follows from its options; it ends in the label set."""
        return self.run(name if self.labels is None else f"{name}-{self.labels}")

    def with_labels(self, labels: str | None) -> Self:
        """The same for a label set; None: the main one."""
        return replace(self, labels=labels)

    def with_task(self, **overrides: Any) -> Self:
        """The same with keys of [task] from flags; None keeps the file's value, a list holds typed data specs."""
        values: dict[str, Any] = {
            key: tuple(rebase_spec(spec, self.root) for spec in value) if isinstance(value, list) else value
            for key, value in overrides.items()
            if value is not None
        }
        return replace(self, task=replace(self.task, **values), typed=self.typed | values.keys())

    def select(self, names: Sequence[str]) -> tuple[Source, ...]:
        """The sources of --source, each a name or a bare model spec; all sources for an empty list."""
        if not names:
            return self.sources
        declared = {source.name for source in self.models}
        return tuple(
            self.find_source(name)
            if name in declared or ":" not in name
            else Source(source_name(name), rebase_spec(name, self.root))
            for name in names
        )

    def declared(self, source: Source) -> dict[str, Any]:
        """The declaration on which a source's features and logits depend, as values of JSON."""
        skipped = ("name", "trained_on", "depth", "gradient_layer", "card", "trained_images")
        values = {key.name: getattr(source, key.name) for key in fields(Source) if key.name not in skipped}
        for key in ("feature_output", "prompts", "class_embeddings"):
            if not values[key]:  # features from before there was this key stay up to date
                del values[key]
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    @property
    def models(self) -> tuple[Source, ...]:
        """The sources and, last, the student under the name "@student"."""
        return self.sources + ((replace(self.student, name=STUDENT),) if self.student else ())


def load(root: Path) -> Config:
    """The configuration of the workspace `root`; the defaults if it has no `zoo.toml`.

    Raises UsageError for a file that is not valid TOML, an unknown key or a value of the wrong type, also in a file
    that it includes.
    """
    path = root / FILE
    try:
        if not path.exists():
            return Config(root)
        return build_config(root, source_tables.read_toml(path))
    except OSError as error:  # a path in a table that is too long, for example
        raise system_errors.translate(error) or error from None


def build_config(root: Path, data: Mapping[str, Any]) -> Config:
    """The configuration of the workspace `root` from the content of its zoo.toml, see `load`.

    A [[source]] table of zoo.toml replaces an included one of the same name.
    """
    path = root / FILE
    for key in data:
        source_tables.check_key(key, ("task", "student", "source", "include"), str(path))
    task = _build(Task, source_tables.check_table(data.get("task", {}), "[task]", path), f"[task] of {path}")
    student = None
    if "student" in data:
        where = f"[student] of {path}"
        table = {"name": "student", **source_tables.check_table(data["student"], "[student]", path)}
        student = _build(Source, source_tables.complete_table(table, root, where), where)
    sources: dict[str, tuple[Source, SourceTable]] = {}
    for source_table in source_tables.list_source_tables(data, path):
        values = source_table.values
        source = _build(Source, {"name": source_name(str(values.get("model", ""))), **values}, source_table.where)
        _check_name(source.name, source_table.where)
        other, other_table = sources.get(source.name, (source, source_table))
        if other_table is not source_table and other_table.file == source_table.file:
            raise UsageError(f'two sources of {source_table.file} are named "{source.name}"', "rename one of them")
        if source != other and source_table.file != path:
            places = f"{other_table.where} and {source_table.where}"
            raise UsageError(f'"{source.name}" is not the same in {places}', "rename or drop one of them")
        sources[source.name] = source, source_table
    return Config(root, task, student, tuple(source for source, _ in sources.values()))


def rebase_spec(spec: str, root: Path) -> str:
    """A spec from the command line, whose path is relative to the current folder, as the zoo.toml of `root` has it."""
    return spec_paths.rebase_spec(spec, root)


def source_name(model: str) -> str:
    """The name of a source that is declared by its model spec alone: `file:zoo/cub` is `cub`."""
    _, _, rest = model.partition(":")
    stem = Path(rest.rstrip("/")).name if rest else model
    for ending in (".parquet", ".safetensors", ".onnx"):
        stem = stem.removesuffix(ending)
    return stem.replace(":", "-") or "source"


def _check_name(name: str, where: str) -> None:
    if not name or name.startswith((".", "@")) or any(c in "/\\=" or ord(c) < 32 for c in name):
        raise UsageError(
            f'"{name}" of {where} cannot name a source', "it becomes a folder: no / \\ = and no leading . or @"
        )


def _build(kind: type[T], table: dict[str, Any], where: str) -> T:
    """A dataclass of zoo.toml from its table. The annotations of the fields are the whole schema."""
    annotations = typing.get_type_hints(kind)
    values = {}
    for key, value in table.items():
        source_tables.check_key(key, list(annotations), where)
        values[key] = convert_value(key, value, annotations[key], where)
    for key in ("name", "model"):
        if kind is Source and not values.get(key):
            raise UsageError(f'no "{key}" in {where}', 'every source needs one, e.g. model = "torchvision:resnet18"')
    if kind is Source and values.get("output", "softmax") not in ("softmax", "sigmoid"):
        raise UsageError(f'output = "{values["output"]}" in {where}', "softmax or sigmoid")
    if kind is Source:
        pixel_range.check_normalisation(values.get("mean") or (), values.get("std") or (), where)
    return kind(**values)
