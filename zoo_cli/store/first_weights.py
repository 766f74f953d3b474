"""The weights with which a model was first used: by the record of its stored outputs, else by sources/NAME.json.

Importing this loads no torch.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from zoo_cli import specs
from zoo_cli.config import FILE, STUDENT, Config, Source
from zoo_cli.store import files, weights_origin
from zoo_cli.store.checksums import SUMS
from zoo_cli.store.feature_store import to_json_values
from zoo_cli.store.model_folders import find_folder
from zoo_cli.store.records import build_record
from zoo_cli.store.source_record import has_source_record, load_source_record

FOLDER = "sources"


@dataclass(frozen=True)
class WeightsRecord:
    """The content of sources/NAME.json: the declaration of a model, and the sha256 of its weights."""

    declared: Mapping[str, Any]
    weights_sha256: str


def are_fixed(settings: Config, source: Source) -> bool:
    """Whether the weights of a model are the same in every use, and nothing else vouches for them.

    Not those from a seed or of a user's factory, nor those of a run, which has digests of its own. Without a zoo.toml
    nothing is recorded.
    """
    provider, _ = specs.provider("model provider", source.model)
    if source.weights == weights_origin.RANDOM or weights_origin.lacks_weights(source.model, source.weights):
        return False
    if provider == "python" and not source.weights:
        return False
    folder = find_folder(source.model, settings.root)
    is_run = folder is not None and (folder / SUMS).exists()
    return provider != "features" and not is_run and (settings.root / FILE).exists()


def load_first_sha256(settings: Config, source: Source) -> str | None:
    """The sha256 of the weights with which a model was first used as it is declared now; None if it never was."""
    name, declared = record_name(settings, source), to_json_values(settings.declared(source))
    if has_source_record(settings, name):
        content = load_source_record(settings, name).content
        if content.get("declared") == declared:
            return content.get("weights_sha256")
    path = weights_file(settings, name)
    if not path.exists():
        return None
    record = load_weights_record(path)
    return record.weights_sha256 if record.declared == declared else None


def write_first_sha256(settings: Config, source: Source, sha256: str) -> None:
    """Record the weights of a model that is used for the first time."""
    record = WeightsRecord(to_json_values(settings.declared(source)), sha256)
    files.write_json(weights_file(settings, record_name(settings, source)), asdict(record))


def load_weights_record(path: Path) -> WeightsRecord:
    """The content of a sources/NAME.json. Raises ContractError for a damaged document."""
    return build_record(WeightsRecord, files.read_json(path), path, f"remove {path}: the next use records it again")


def weights_file(settings: Config, name: str) -> Path:
    """The document of a model."""
    return settings.root / FOLDER / f"{name}.json"


def record_name(settings: Config, source: Source) -> str:
    """The name under which outputs of a model are stored."""
    return STUDENT if source == settings.student else source.name
