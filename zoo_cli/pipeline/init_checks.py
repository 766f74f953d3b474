"""What `zoo init` checks before it writes: names that zoo.toml takes, and that every path leads somewhere."""

import os
from pathlib import Path
from urllib.parse import parse_qsl

from zoo_cli import config, source_tables, specs, system_errors, text_escapes
from zoo_cli.config import Config, Source
from zoo_cli.data import samples, splits
from zoo_cli.errors import UsageError
from zoo_cli.store import path_patterns
from zoo_cli.store.remote_files import match_uris

RELATIVE = "paths are relative to the workspace"


def check_written(settings: Config, text: str) -> None:
    """Raise UsageError unless a zoo.toml with this text could be read, and its data and models are there."""
    config.build_config(settings.root, source_tables.parse_toml(text.encode(), settings.root / config.FILE))
    task = settings.task
    test = task.test if splits.parse_test_share(task.test) is None else ()
    for spec in (*task.train, *test, *task.unlabelled):
        _check_data(spec, settings.root)
    for model in settings.models:
        _check_model(model, settings.root)
    _check_writable(settings.root)


def _check_data(spec: str, root: Path) -> None:
    provider, rest = specs.provider("data provider", spec)
    if provider == "torchvision":
        folder = dict(parse_qsl(rest.partition("?")[2])).get("root")
        if folder is not None:
            _check_folder(samples.resolve_path(folder, root), spec)
        return
    if (uri := samples.find_remote(spec, root)) is not None:
        if not match_uris(uri):
            raise UsageError(f"no file matches {spec}", "write SCHEME://PLACE/FOLDER/*.parquet")
        return
    path = samples.data_path(spec, root)
    if provider == "folder":
        _check_folder(path, spec)
    elif provider in ("csv", "jsonl"):
        _check_file(path, spec)
    elif provider == "arrow" and path.is_dir():
        _check_folder(path, spec)
    elif not (matches := samples.match_data(path, root)):
        raise UsageError(f"no file matches {spec}", RELATIVE)
    else:
        for match in matches:
            _check_file(match, spec)


def _check_model(source: Source, root: Path) -> None:
    provider, rest = specs.provider("model provider", source.model)
    if provider == "file":
        _check_folder(samples.resolve_path(rest, root), source.model)
    elif provider == "python":
        _check_file(samples.resolve_path(rest.rpartition(":")[0], root), source.model)
    elif provider == "onnx":
        _check_file(samples.resolve_path(rest, root), source.model)
    elif provider == "features" and not path_patterns.match_paths(samples.resolve_path(rest, root)):
        raise UsageError(f"no file matches {source.model}", RELATIVE)


def _check_folder(path: Path, spec: str) -> None:
    if not path.is_dir():
        raise UsageError(f"no folder {text_escapes.quote(system_errors.shorten(path))} ({spec})", RELATIVE)
    if not os.access(path, os.R_OK | os.X_OK):
        raise UsageError(f"{text_escapes.quote(str(path))} cannot be read ({spec})", "change its permissions")


def _check_file(path: Path, spec: str) -> None:
    if not path.is_file():
        raise UsageError(f"no file {text_escapes.quote(system_errors.shorten(path))} ({spec})", RELATIVE)
    if not os.access(path, os.R_OK):
        raise UsageError(f"{text_escapes.quote(str(path))} cannot be read ({spec})", "change its permissions")


def _check_writable(folder: Path) -> None:
    """Raise UsageError unless files can be made in a folder, or the folder itself in the nearest one there is."""
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise UsageError(f"{place} is a file, not a folder", "choose another workspace")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UsageError(f"{place} cannot be written", "change its permissions, or choose another workspace")
