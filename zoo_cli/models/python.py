"""python:FILE.py:FACTORY: the user's own architecture, with a weights file or the weights that it makes."""

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from zoo_cli import specs
from zoo_cli.config import Source
from zoo_cli.errors import UsageError
from zoo_cli.guard import guarded
from zoo_cli.models import weights
from zoo_cli.models.architecture import Architecture, ProviderResult
from zoo_cli.models.third_party import seeded
from zoo_cli.store import weights_origin


def load_python(source: Source, rest: str, root: Path, seed: int) -> ProviderResult:
    """The module that FACTORY of FILE returns for the source's args, with its weights loaded.

    A string among the args that names an existing file or folder relative to zoo.toml becomes its path. Preprocessing
    and classes are unknown. Raises UsageError for a missing file or factory and for whatever the user's code raises,
    ContractError for weights that do not fit.
    """
    name, sign, factory = rest.rpartition(":")
    if not sign or not name.endswith(".py") or not factory:
        raise UsageError(f'"python:{rest}" names no factory', "write python:FILE.py:FACTORY")
    file = root / name
    if not file.is_file():
        raise UsageError(f'source {source.name}: no file "{name}"', "paths are relative to zoo.toml")
    code = file.read_bytes()
    namespace = vars(_import(file, code))
    function = namespace.get(factory)
    if not callable(function):
        factories = [key for key, value in namespace.items() if callable(value) and key[0] != "_"]
        raise specs.nearest(f"factory in {name}", factory, factories)
    with guarded(f"{factory} of {name}", "fix it, or the args of the source"), seeded(seed):
        module = function(**{key: _resolve_path(value, root) for key, value in source.args.items()})
        if not isinstance(module, nn.Module):
            raise UsageError(
                f"{factory} of {name} returns {type(module).__name__}", "a factory must return a torch.nn.Module"
            )
        module = module.cpu().float().eval()
    weights_file = None
    if source.weights not in ("", weights_origin.RANDOM):
        weights_file = weights.locate_weights(source.weights, root, source.name)
    if weights_file is not None:
        state = weights.read_weights(weights_file, weights.list_keys(module, str(weights_file)))
        weights.load_weights(module, state, str(weights_file))
    return ProviderResult(
        module,
        Architecture(
            f"python:{rest}",
            dict(source.args),
            code_sha256=hashlib.sha256(code).hexdigest(),
            root=str(root.resolve()),
        ),
        weights.weights_sha256(module, weights_file),
    )


def _import(file: Path, code: bytes) -> ModuleType:
    """Import the user's file under a module name that no other file, and no other version of it, shares.

    It is compiled from the bytes that were hashed: a cached bytecode file could be older.
    """
    name = "zoo_user_" + hashlib.sha256(str(file.resolve()).encode() + b"\0" + code).hexdigest()[:16]
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickles look their module up by name.
    sys.modules[name] = module
    complete = False
    try:
        with guarded(f"importing {file}", "fix the file"):
            exec(compile(code, str(file), "exec"), module.__dict__)
            complete = True
    finally:
        if not complete:
            sys.modules.pop(name, None)
    return module


def _resolve_path(value: Any, root: Path) -> Any:
    return str(root / value) if isinstance(value, str) and value and (root / value).exists() else value
