"""The class names of a task, in label order: classes.json."""

from collections.abc import Sequence
from pathlib import Path

from zoo_cli.errors import ContractError
from zoo_cli.store import files


def load_class_names(file: Path) -> tuple[str, ...]:
    """The names in a classes.json. Raises ContractError for a file without names."""
    content = files.read_json(file)
    names = content.get("names") if isinstance(content, dict) else None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ContractError(f"{file} has no list of names", "zoo split writes it beside the manifest")
    return tuple(names)


def write_class_names(file: Path, names: Sequence[str]) -> None:
    """Write a classes.json."""
    files.write_json(file, {"names": list(names)})
