"""file:FOLDER, a student or expert of ours, or a folder in timm's layout."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from zoo_cli.config import Preprocessing, Source
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.models import architecture, timm, weights
from zoo_cli.models.architecture import HeadSpec, ProviderResult

SCHEMA = "zoo.student/1"
WEIGHTS = "model.safetensors"
CONFIG = "config.json"


def load(source: Source, rest: str, root: Path, seed: int) -> ProviderResult:  # noqa: ARG001 - every provider's signature
    """The model in a folder, from its config.json; it knows its preprocessing and its class names.

    `classes = 0` leaves the head out. Raises UsageError where the folder holds no model, ContractError where its files
    are corrupt or no longer belong together.
    """
    folder = root / rest
    file = folder / CONFIG
    if not file.is_file():
        raise UsageError(f'source {source.name}: no model in "{rest}"', f"its folder holds {CONFIG} and {WEIGHTS}")
    try:
        config = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        raise ContractError(f"{file} is no JSON") from None
    if not isinstance(config, Mapping):
        raise ContractError(f"{file} is no JSON object")
    if source.weights:
        raise UsageError(f"source {source.name}: a folder has its own weights", "leave weights out")
    if "zoo" in config:
        if source.args:
            raise UsageError(f"source {source.name}: a run of zoo takes no args", "leave args out")
        return _ours(source, folder, config["zoo"], root)
    return timm.load_folder(source, folder, config, file)


def built(folder: Path) -> str:
    """Which architecture the model in a folder is, as a model spec: "torchvision:resnet50"; empty where none says."""
    try:
        config = json.loads((folder / CONFIG).read_bytes())
        said = config["zoo"]["architecture"]["model"] if "zoo" in config else f"timm:{config['architecture']}"
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return ""
    return str(said)


def to_json(
    built: architecture.Architecture, names: tuple[str, ...], preprocessing: Preprocessing, folder: Path | None
) -> dict[str, Any]:
    """What the config.json of a folder says under "zoo": all that `load` needs beside the weights."""
    return {
        "schema": SCHEMA,
        "architecture": built.to_json(folder),
        "classes": list(names),
        "preprocessing": asdict(preprocessing),
    }


def _ours(source: Source, folder: Path, said: Any, root: Path) -> ProviderResult:
    file = folder / CONFIG
    if not isinstance(said, Mapping) or said.get("schema") != SCHEMA:
        schema = said.get("schema") if isinstance(said, Mapping) else None
        raise ContractError(f'{file} has the schema "{schema}"', f"this version of zoo reads {SCHEMA}")
    try:
        recipe = architecture.from_json(said["architecture"], folder)
        names = tuple(map(str, said["classes"]))
        known = asdict(Preprocessing(**said["preprocessing"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ContractError(f"{file} lacks or mistakes {error}", "it does not say how to build its model") from None
    module = architecture.build(recipe, root, source.name)
    path = folder / WEIGHTS
    if not path.is_file():
        raise ContractError(f"{folder} holds no {WEIGHTS}", "the run may not be complete")
    weights.fill(module, weights.read(path), str(path))
    if source.classes == 0 and recipe.edits:
        last = recipe.edits[-1]
        cut = HeadSpec(replace(last.tap, head=architecture.head_name(last)), 0)
        module, recipe, names = architecture.apply(module, cut), recipe.edited(cut), ()
    return ProviderResult(module.eval(), recipe, weights.file_sha256(path), known, names or None, len(names))
