"""What the config.json in a folder of a model says of its domains and training data, read without loading a network.

`file:FOLDER#NAME` is one domain of a folder that `zoo expert --multi` has made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo_cli import specs
from zoo_cli.errors import UsageError
from zoo_cli.store import files
from zoo_cli.store.checksums import DOMAINS
from zoo_cli.store.records import build_record, check_value

CONFIG = "config.json"
SHARED = "shared"
"""The kind of network whose domains have nothing but their heads of their own."""
EXPERTS = "zoo.experts/1"
"""The schema of the record of a network of several domains."""


@dataclass(frozen=True)
class DomainRecord:
    """A domain of a network: its name, and its classes (C,) in the order of the logits."""

    name: str
    classes: tuple[str, ...]


@dataclass(frozen=True)
class _Record:
    """What is read under "zoo" in a config.json; that of another model has neither key."""

    domains: tuple[DomainRecord, ...] = ()
    trained_on: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainingData:
    """The data sets that a source has seen: `own`, and `shared`, those of the other domains of its network."""

    own: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """All of them, its own first."""
        return self.own + self.shared


def split_domain(rest: str, root: Path) -> tuple[str, str]:
    """The folder and the domain of `FOLDER#NAME`; the domain is empty for a folder, also one with a # in its name."""
    folder, sign, domain = rest.rpartition("#")
    return (folder, domain) if sign and folder and not (root / rest).exists() else (rest, "")


def find_folder(model: str, root: Path) -> Path | None:
    """The folder that a model spec names, with or without a domain; None for any other model."""
    provider, _, rest = model.partition(":")
    return root / split_domain(rest, root)[0] if provider == "file" else None


def find_domain_files(model: str, root: Path) -> Path | None:
    """The folder of what is stored beside a source: its own, or that of its domain; None for any other model."""
    provider, _, rest = model.partition(":")
    if provider != "file":
        return None
    folder, domain = split_domain(rest, root)
    return root / folder / DOMAINS / domain if domain else root / folder


def list_domains(folder: Path) -> tuple[DomainRecord, ...]:
    """The domains of a network of several; empty for any other. Raises ContractError for a damaged config.json."""
    return _read(folder).domains


def find_domain(folder: Path, name: str) -> int:
    """The number of a domain of a network. Raises UsageError, offering the nearest name, if there is no such domain."""
    names = [domain.name for domain in list_domains(folder)]
    if not names:
        raise UsageError(f"{folder} has no domains", f"drop #{name}; zoo expert --multi trains one of several domains")
    if name not in names:
        raise specs.nearest(f"domain of {folder}", name, names)
    return names.index(name)


def domain_specs(folder: Path) -> list[str]:
    """`file:FOLDER#NAME` for each domain of a network. Raises UsageError for a folder of another kind."""
    domains = list_domains(folder)
    if not domains:
        raise UsageError(f"{folder} has no domains", "name a folder that zoo expert --multi has made")
    return [f"file:{folder.as_posix()}#{domain.name}" for domain in domains]


def is_same_source(model: str, other: str, root: Path) -> bool:
    """Whether two model specs name the same folder and domain, by whatever path."""
    names = [spec.removeprefix("file:") for spec in (model, other) if spec.startswith("file:")]
    places = [split_domain(name, root) for name in names]
    return len(places) == 2 and len({((root / folder).resolve(), domain) for folder, domain in places}) == 1


def read_training_data(model: str, root: Path) -> TrainingData:
    """What the folder of a model spec names as seen in training; nothing for a model without such a record."""
    provider, _, rest = model.partition(":")
    if provider != "file":
        return TrainingData()
    folder, domain = split_domain(rest, root)
    record = _read(root / folder)
    others = {each.name for each in record.domains} - {domain} if domain else set()
    own = tuple(name for name in record.trained_on if name not in others)
    return TrainingData(own, tuple(name for name in record.trained_on if name in others))


def _read(folder: Path) -> _Record:
    file = folder / CONFIG
    if not file.is_file():
        return _Record()
    config: Any = files.read_json(file)
    check_value(Mapping[str, Any], config, file)
    record = config.get("zoo")
    return build_record(_Record, record, f'"zoo" in {file}', extra_keys=True) if record is not None else _Record()
