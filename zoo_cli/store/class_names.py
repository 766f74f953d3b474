"""The class names of a task, in label order: classes.json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo_cli.errors import ContractError
from zoo_cli.store import files, parquet_files
from zoo_cli.store.records import build_record, check_value

MANIFEST = "manifest.parquet"


@dataclass(frozen=True)
class _Document:
    """The content of a classes.json."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class _StudentDocument:
    """What the config.json of a run holds under "zoo" of its classes."""

    classes: tuple[str, ...]


def load_class_names(file: Path, manifest: Path | None = None) -> tuple[str, ...]:
    """The names in a classes.json. `manifest`: the one whose labels they name, by default that beside it.

    Raises ContractError for a file without names, and for one that was not written with the manifest.
    """
    maker = "zoo split writes it beside the manifest"
    names = build_record(_Document, files.read_json(file), file, maker, extra_keys=True).names
    if not names:
        raise ContractError(f"{file} has no class names", maker)
    check_beside(manifest or file.with_name(MANIFEST), file)
    return names


def load_student_classes(file: Path) -> tuple[str, ...]:
    """The class names in the config.json of a run; empty for another model. Raises ContractError if it is damaged."""
    config = files.read_json(file)
    check_value(Mapping[str, Any], config, file)
    if "zoo" not in config:
        return ()
    return build_record(_StudentDocument, config["zoo"], f'"zoo" in {file}', extra_keys=True).classes


def check_beside(manifest: Path, file: Path) -> None:
    """Raise ContractError if a manifest names another digest of a file than it has."""
    beside = parquet_files.read_header(manifest).get("beside", {}) if manifest.exists() else {}
    expected = beside.get(file.relative_to(manifest.parent).as_posix())
    if expected is not None and (not file.exists() or files.digest(file) != expected):
        raise ContractError(
            f"{file} is not the file that was written with {manifest}", "zoo split --overwrite makes both again"
        )


def class_names_text(names: Sequence[str]) -> str:
    """The text of a classes.json."""
    return files.to_json_text({"names": list(names)})
