"""The class names of a task, in label order: classes.json."""

from collections.abc import Sequence
from pathlib import Path

from zoo_cli.errors import ContractError
from zoo_cli.store import files

MANIFEST = "manifest.parquet"


def load_class_names(file: Path, manifest: Path | None = None) -> tuple[str, ...]:
    """The names in a classes.json. `manifest`: the one whose labels they name, by default that beside it.

    Raises ContractError for a file without names, and for one that was not written with the manifest.
    """
    content = files.read_json(file)
    names = content.get("names") if isinstance(content, dict) else None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ContractError(f"{file} has no list of names", "zoo split writes it beside the manifest")
    check_beside(manifest or file.with_name(MANIFEST), file)
    return tuple(names)


def check_beside(manifest: Path, file: Path) -> None:
    """Raise ContractError if a manifest names another digest of a file than it has."""
    beside = files.read_header(manifest).get("beside") if manifest.exists() else None
    expected = beside.get(file.relative_to(manifest.parent).as_posix()) if isinstance(beside, dict) else None
    if expected is not None and (not file.exists() or files.digest(file) != expected):
        raise ContractError(
            f"{file} is not the file that was written with {manifest}", "zoo split --overwrite makes both again"
        )


def class_names_text(names: Sequence[str]) -> str:
    """The text of a classes.json."""
    return files.to_json_text({"names": list(names)})
