"""python:FILE.py:FACTORY, the user's own architecture, with a weights file or random."""

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from zoo_cli import specs
from zoo_cli.config import Source
from zoo_cli.errors import UsageError, ZooError
from zoo_cli.models import weights
from zoo_cli.models.architecture import Architecture, ProviderResult
from zoo_cli.models.third_party import guarded, seeded


def load(source: Source, rest: str, root: Path, seed: int) -> ProviderResult:
    """The module that FACTORY of FILE gives for the source's args, with its weights loaded.

    A text among the args that names an existing file or folder relative to zoo.toml becomes its path. Nothing of the
    preprocessing or the classes is known. Raises UsageError for a missing file or factory and for whatever the user's
    code raises, ContractError for weights that do not fit.
    """
    text, sign, factory = rest.rpartition(":")
    if not sign or not text or not factory:
        raise UsageError(f'"python:{rest}" names no factory', "write python:FILE.py:FACTORY")
    file = root / text
    if not file.is_file():
        raise UsageError(f'source {source.name}: no file "{text}"', "paths are relative to zoo.toml")
    code = file.read_bytes()
    names = vars(_import(file, code))
    function = names.get(factory)
    if not callable(function):
        known = [name for name, value in names.items() if callable(value) and name[0] != "_"]
        raise specs.nearest(f"factory in {text}", factory, known)
    with guarded(f"{factory} of {text}", "mend it, or the args of the source", names), seeded(seed):
        module = function(**{key: _path(value, root) for key, value in source.args.items()})
    if not isinstance(module, nn.Module):
        raise UsageError(f"{factory} of {text} gives {type(module).__name__}", "a factory returns a torch.nn.Module")
    module = module.cpu().float().eval()
    weights_file = weights.locate(source.weights, root, source.name) if source.weights else None
    if weights_file is not None:
        weights.fill(module, weights.read(weights_file), str(weights_file))
    return ProviderResult(
        module,
        Architecture(
            f"python:{rest}",
            dict(source.args),
            code_sha256=hashlib.sha256(code).hexdigest(),
            root=str(root.resolve()),
        ),
        weights.file_sha256(weights_file) if weights_file is not None else weights.state_sha256(module),
    )


def _import(file: Path, code: bytes) -> ModuleType:
    """The user's file as a module under a name of its own, which no other file and no other version of it shares.

    It is compiled from the bytes that were hashed: a cached bytecode file could be older than they are.
    """
    name = "zoo_user_" + hashlib.sha256(str(file.resolve()).encode() + b"\0" + code).hexdigest()[:16]
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickles look their module up by name.
    sys.modules[name] = module
    try:
        with guarded(f"importing {file}", "mend the file", module.__dict__):
            exec(compile(code, str(file), "exec"), module.__dict__)
    except ZooError:
        del sys.modules[name]
        raise
    return module


def _path(value: Any, root: Path) -> Any:
    return str(root / value) if isinstance(value, str) and value and (root / value).exists() else value
