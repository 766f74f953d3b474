"""What is known of a source whose outputs are stored: the document beside them.

Its name begins with an underscore, so that pandas, pyarrow and Spark read the folder as one data set and skip it.
Earlier versions wrote it without one; it is still read under the old name, and renamed when it is written again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from zoo_cli.config import Config, Preprocessing
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.store import files, provenance, replacement, weights_origin
from zoo_cli.store.records import build_record

DOCUMENT, OLD_DOCUMENT = "_source.json", "source.json"
FILES = "files"
"""The key of the digests of a zero-shot source's files, whose `weights_sha256` is also of its text."""
UNUSED = ("name", "trained_on", "depth", FILES)
"""Keys on which no output depends, or none that others do not cover."""
MISSING = object()


@dataclass(frozen=True)
class _FeatureLayer:
    """Where the features of a source are read, as its record holds it."""

    module: str
    side: Literal["input", "output"]
    pool: bool
    head: str | None
    output: str = ""


@dataclass(frozen=True)
class _Document:
    """The keys of a record that are read, with the types of their values; those with a default may be missing."""

    features: int
    classes: int
    class_names: Sequence[str] | None
    output: Literal["softmax", "sigmoid"]
    name: str = ""
    provider: str = ""
    model: str = ""
    declared: Mapping[str, Any] = field(default_factory=dict)
    preprocessing: Preprocessing | None = None
    precision: str | None = None
    trained_on: Sequence[str] | None = None
    depth: int | None = None
    parameters: int | None = None
    macs: int | None = None
    args: Mapping[str, Any] = field(default_factory=dict)
    code_sha256: str | None = None
    weights_sha256: str | None = None
    feature_layer: _FeatureLayer | None = None


@dataclass(frozen=True)
class SourceRecord:
    """The document of one source; `content` is all of it."""

    content: Mapping[str, Any]

    @property
    def features(self) -> int:
        """Width D of the embedding; 0: none is stored."""
        return int(self.content["features"])

    @property
    def classes(self) -> int:
        """Number K of the source's own classes; 0: it has no head."""
        return int(self.content["classes"])

    @property
    def can_teach(self) -> bool:
        """Whether it has a head that says something: a softmax of one class is always 1."""
        return self.classes > 1 or (self.classes == 1 and self.output == "sigmoid")

    @property
    def outputs_only(self) -> bool:
        """Whether only its outputs are known, not its model."""
        return self.content.get("provider") == "features"

    @property
    def class_names(self) -> list[str] | None:
        """Names of its classes in order, None if they are not known."""
        names: list[str] | None = self.content["class_names"]
        return names

    @property
    def output(self) -> str:
        """What its logits are for: softmax or sigmoid."""
        return str(self.content["output"])

    @property
    def trained_on(self) -> tuple[str, ...]:
        """The data sets it has seen, as declared."""
        return tuple(self.content.get("trained_on") or ())

    @property
    def depth(self) -> int | None:
        """Its number of layers, as declared."""
        depth: int | None = self.content.get("depth")
        return depth

    @property
    def parameters(self) -> int | None:
        """Its number of parameters; None if only outputs are known."""
        parameters: int | None = self.content.get("parameters")
        return parameters

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """How its images are prepared; empty if only outputs are known."""
        return self.content.get("preprocessing") or {}

    @property
    def weights_note(self) -> str:
        """What a table says of its weights, see `weights_origin.describe_origin`."""
        declared = self.content.get("declared") or {}
        return weights_origin.describe_origin(str(self.content.get("model", "")), str(declared.get("weights", "")))

    @property
    def fingerprint(self) -> str:
        """A digest of what its outputs depend on: weights, preprocessing, the layer of the features, precision."""
        return provenance.fingerprint({key: value for key, value in self.content.items() if key not in UNUSED})

    def changes(self, other: Self) -> list[str]:
        """The keys on which outputs depend and in which another record differs."""
        return provenance.differences(
            *({key: value for key, value in record.content.items() if key not in UNUSED} for record in (self, other))
        )


def has_source_record(settings: Config, name: str) -> bool:
    """Whether outputs of a source have been stored, or begun."""
    current, old = _paths(settings, name)
    # Another process may rename it between two looks.
    return any(path.exists() for path in (current, old, current))


def load_source_record(settings: Config, name: str) -> SourceRecord:
    """The record of a source. Raises UsageError where nothing is stored of it, ContractError for a damaged document."""
    current, old = _paths(settings, name)
    content = load_document(current, old)
    if content is MISSING:
        raise UsageError(f"no file {current}", f"zoo extract --source {name} makes it")
    again = f"zoo extract --source {name} --overwrite makes it again"
    build_record(_Document, content, current, again, extra_keys=True)
    if content.get("name", name) != name:
        raise ContractError(f'{current} is the record of "{content["name"]}"', again)
    return SourceRecord(content)


def write_source_record(settings: Config, name: str, record: SourceRecord) -> None:
    """Write the record, under its present name alone."""
    current, old = _paths(settings, name)
    files.write_sealed_json(current, record.content)
    old.unlink(missing_ok=True)


def rename_source_record(settings: Config, name: str) -> None:
    """Give a record that an earlier version wrote its present name."""
    current, old = _paths(settings, name)
    if not current.exists() and old.exists():
        write_source_record(settings, name, load_source_record(settings, name))


def load_document(path: Path, old: Path) -> Any:
    """A JSON document under its present name or the one that earlier versions gave it; MISSING where there is none.

    It is looked for again where another process may just have renamed it.
    """
    for candidate in (path, old, path):
        try:
            return files.read_json(candidate)
        except UsageError:
            if candidate.exists():
                raise
    return MISSING


def _paths(settings: Config, name: str) -> tuple[Path, Path]:
    folder = settings.features(name)
    replacement.settle(folder)
    return folder / DOCUMENT, folder / OLD_DOCUMENT
