"""What is known of a source whose outputs are stored: the document beside them.

Its name begins with an underscore, so that pandas, pyarrow and Spark read the folder as one data set and skip it.
Earlier versions wrote it without one; it is still read under the old name, and renamed when it is written again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from zoo_cli.config import Config
from zoo_cli.store import files, provenance

DOCUMENT, OLD_DOCUMENT = "_source.json", "source.json"
UNUSED = ("name", "trained_on", "depth")
"""Keys on which no output depends."""


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
    def fingerprint(self) -> str:
        """A digest of what its outputs depend on: weights, preprocessing, the layer of the features, precision."""
        return provenance.fingerprint({key: value for key, value in self.content.items() if key not in UNUSED})

    def changes(self, other: Self) -> list[str]:
        """The keys on which outputs depend and in which another record differs."""
        return provenance.differences(
            *({key: value for key, value in record.content.items() if key not in UNUSED} for record in (self, other))
        )


def has_source_record(settings: Config, name: str) -> bool:
    """Whether outputs of a source are stored, at least in part."""
    return _path(settings.features(name)).exists()


def load_source_record(settings: Config, name: str) -> SourceRecord:
    """The record of a source. Raises UsageError if nothing is stored of it."""
    return SourceRecord(files.read_json(_path(settings.features(name))))


def write_source_record(settings: Config, name: str, record: SourceRecord) -> None:
    """Write the record under its current name, and remove the old one."""
    folder = settings.features(name)
    files.write_json(folder / DOCUMENT, record.content)
    (folder / OLD_DOCUMENT).unlink(missing_ok=True)


def rename_source_record(settings: Config, name: str) -> None:
    """Rename a record that an earlier version wrote."""
    folder = settings.features(name)
    if not (folder / DOCUMENT).exists() and (folder / OLD_DOCUMENT).exists():
        write_source_record(settings, name, load_source_record(settings, name))


def _path(folder: Path) -> Path:
    current, old = folder / DOCUMENT, folder / OLD_DOCUMENT
    return old if old.exists() and not current.exists() else current
