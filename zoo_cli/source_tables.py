"""The [[source]] tables of a zoo.toml as raw values: its own, and those of the file that it includes.

`include = "sources.toml"` lets workspaces share one list. An included file holds [[source]] tables, and may include
another one. Its paths are relative to itself.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo_cli import source_card, spec_paths, specs, system_errors
from zoo_cli.errors import UsageError

INCLUDED_KEYS = ("include", "source")
PATH_KEYS = ("card", "trained_images", "class_embeddings")
"""The keys of a source that hold a path, and nothing else."""


@dataclass(frozen=True)
class SourceTable:
    """One [[source]] table, its paths relative to the workspace: its keys, with those of its card, and its place.

    `file`: that which holds it. `where`: the table and its file, as errors name them.
    """

    values: Mapping[str, Any]
    file: Path
    where: str


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file. Raises UsageError for a file that cannot be read or is not valid TOML."""
    try:
        system_errors.refuse_special(path)
        return parse_toml(path.read_bytes(), path)
    except OSError as error:
        raise system_errors.translate(error) or error from None


def parse_toml(content: bytes, path: Path) -> dict[str, Any]:
    """The tables of a TOML text. Raises UsageError, naming its file `path`, if it is not valid."""
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # also for an integer of thousands of digits
        raise UsageError(f"{path} is not valid TOML: {error}", "fix that line") from None


def list_source_tables(data: Mapping[str, Any], path: Path) -> Iterator[SourceTable]:
    """The tables of a zoo.toml with the content `data`, those that it includes first.

    Raises UsageError for an included file that is missing, includes itself, or holds other keys.
    """
    root = path.parent
    chain = [(path, data)]
    while "include" in (last := chain[-1])[1]:
        file = _find_included(*last)
        if any(file.samefile(other) for other, _ in chain):
            names = " -> ".join(str(each) for each in (*(other for other, _ in chain), file))
            raise UsageError(f"{file} includes itself: {names}", "drop one include")
        content = read_toml(file)
        for key in content:
            check_key(key, INCLUDED_KEYS, f"{file}, which {last[0]} includes")
        chain.append((file, content))
    for file, content in reversed(chain):
        yield from _list_own_tables(content, file, root)


def check_key(key: str, names: Sequence[str], where: str) -> None:
    """Raise UsageError, naming the nearest one, for a key that is not one of the names."""
    if key not in names:
        raise UsageError(f'unknown key "{key}" in {where}', specs.suggest_name(key, names))


def check_table(value: Any, where: str, path: Path) -> dict[str, Any]:
    """A value of a TOML file that must be a table."""
    if not isinstance(value, dict):
        raise UsageError(f"{where} of {path} is not a table", f"write its keys under {where}")
    return value


def complete_table(table: Mapping[str, Any], root: Path, where: str) -> dict[str, Any]:
    """The keys of a table with those of its card, if it names one; keys beside `card` win."""
    card = table.get("card")
    if not isinstance(card, str) or not card or "\0" in card:
        return dict(table)
    return source_card.add_card(table, root / card, where)


def _find_included(path: Path, data: Mapping[str, Any]) -> Path:
    name = data["include"]
    if not isinstance(name, str) or not name or "\0" in name:
        raise UsageError(f"include = {name!r} in {path}", 'expected the path of a file, e.g. "sources.toml"')
    file = path.parent / name
    try:
        if file.is_dir():
            raise UsageError(f"{file}, which {path} includes, is a folder", "name a file with [[source]] tables")
        file.stat()
    except FileNotFoundError:
        hint = f"include is relative to {path.name}"
        raise UsageError(f"no file {system_errors.shorten(file)}, which {path} includes", hint) from None
    except OSError as error:
        raise system_errors.translate(error) or error from None
    return file


def _list_own_tables(data: Mapping[str, Any], file: Path, root: Path) -> Iterator[SourceTable]:
    entries = data.get("source", [])
    if not isinstance(entries, list):
        raise UsageError(f"[source] of {file} is one table", "write [[source]], with two brackets")
    for number, entry in enumerate(entries, 1):
        where = f"[[source]] {number} of {file}"
        table = _rebase_table(check_table(entry, "[[source]]", file), root, file.parent)
        yield SourceTable(complete_table(table, root, where), file, where)


def _rebase_table(table: Mapping[str, Any], root: Path, base: Path) -> Mapping[str, Any]:
    """The table with every path relative to the workspace instead of the folder of its file.

    A text that may be a path or a name is a path if it is the file that it names; so for the args of a factory.
    """
    if base == root:
        return table

    def rebase(key: str, value: Any) -> Any:
        if isinstance(value, Mapping) and key == "args":
            return {name: _rebase_existing(text, root, base) for name, text in value.items()}
        if not isinstance(value, str) or "\0" in value:
            return value
        if key == "model":
            return spec_paths.rebase_spec(value, root, base)
        if key in PATH_KEYS or (key == "weights" and spec_paths.is_weights_file(value, base)):
            return spec_paths.rebase_path(value, root, base)
        return _rebase_existing(value, root, base) if key == "classes" else value

    return {key: rebase(key, value) for key, value in table.items()}


def _rebase_existing(value: Any, root: Path, base: Path) -> Any:
    is_path = isinstance(value, str) and value and "\0" not in value and (base / value).exists()
    return spec_paths.rebase_path(value, root, base) if is_path else value
