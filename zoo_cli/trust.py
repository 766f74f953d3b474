"""Code that the config.json of a folder may run: what the user names, or what lies in a folder that the user trusts.

The configuration of a downloaded model may name any file as its architecture, so to name the folder is not enough.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from zoo_cli import config

RUNS = "runs"

_folders: set[Path] = set()
_named: set[Path] = set()
_workspaces: set[Path] = set()


def trust_folders(folders: Iterable[Path]) -> None:
    """Let the models in these folders run the code that they name, for the rest of this process."""
    _folders.update(folder.resolve() for folder in folders)


def open_workspace(root: Path) -> None:
    """Let the code of a workspace run wherever its runs are loaded, for the rest of this process."""
    _workspaces.add(root.resolve())


def name_files(specs: Iterable[str]) -> None:
    """Remember the code files of the python: specs among these texts of a command line."""
    for spec in specs:
        provider, _, rest = spec.partition(":")
        if provider == "python" and (name := rest.rpartition(":")[0]):
            _named.add(Path(name).absolute())


def export() -> tuple[frozenset[Path], ...]:
    """What has been trusted and named, for `restore` in another process."""
    return frozenset(_folders), frozenset(_named), frozenset(_workspaces)


def restore(trusted: tuple[frozenset[Path], ...]) -> None:
    """Trust what another process does."""
    for own, others in zip((_folders, _named, _workspaces), trusted, strict=True):
        own.update(others)


def reset() -> None:
    """Forget all folders and files, before another command in the same process."""
    _folders.clear()
    _named.clear()
    _workspaces.clear()


def permitted_file(code: Path, sha256: str, folder: Path, root: Path) -> Path | None:
    """The file to run for a model in `folder` whose config.json names `code` with this hash; None if it may not run.

    A file with the same bytes that zoo.toml of the workspace `root` or the command line names is run in its place: what
    it imports from beside it is then the user's, too. Code beside zoo.toml may run, and for a run that was made in the
    workspace all of its code that lies outside its runs.
    """
    if folder.resolve() in _folders:
        return code
    workspaces = (root, *sorted(_workspaces))
    for file in (*(file for place in workspaces for file in _files_of_workspace(place)), *sorted(_named)):
        if file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == sha256:
            return file
    return code if any(_is_own(code.resolve(), folder.resolve(), place.resolve()) for place in workspaces) else None


def _is_own(code: Path, folder: Path, root: Path) -> bool:
    """Whether code lies beside zoo.toml, or elsewhere in the workspace and serves a run that was made there."""
    if code.is_relative_to(folder) or not (root / config.FILE).is_file():
        return False
    runs = root / RUNS
    made_here = folder.parent == runs and code.is_relative_to(root) and not code.is_relative_to(runs)
    return code.parent == root or made_here


def _files_of_workspace(root: Path) -> list[Path]:
    """The code files that zoo.toml names."""
    models = (source.model.partition(":") for source in config.load(root).models)
    return [root / rest.rpartition(":")[0] for provider, _, rest in models if provider == "python"]
