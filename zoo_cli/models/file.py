"""file:FOLDER: a run of zoo, or a folder in timm's layout."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from zoo_cli.config import Preprocessing, Source
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.models import architecture, timm, weights
from zoo_cli.models.architecture import ArchitectureRecord, HeadSpec, PreprocessingDefaults, ProviderResult
from zoo_cli.store import files
from zoo_cli.store.records import build_record

SCHEMA = "zoo.student/1"
WEIGHTS = "model.safetensors"
CONFIG = "config.json"


@dataclass(frozen=True)
class _StudentRecord:
    """What is recorded under "zoo" in the config.json of a run, see `to_json`."""

    schema: str
    architecture: ArchitectureRecord
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    trained_on: tuple[str, ...] = ()


def load_folder(source: Source, rest: str, root: Path, seed: int) -> ProviderResult:  # noqa: ARG001 - providers share it
    """Load the model in a folder as its config.json describes it, with its preprocessing and class names.

    `classes = 0` leaves the head out. Raises UsageError if the folder contains no model, ContractError if its files are
    corrupt or do not belong together.
    """
    folder = root / rest
    file = folder / CONFIG
    if not file.is_file():
        raise UsageError(f'source {source.name}: no model in "{rest}"', f"the folder must hold {CONFIG} and {WEIGHTS}")
    config = files.read_json(file)
    if not isinstance(config, Mapping):
        raise ContractError(f"{file} is not a JSON object")
    if source.weights:
        raise UsageError(f"source {source.name}: a folder has its own weights", "drop weights")
    if "zoo" in config:
        if source.args:
            raise UsageError(f"source {source.name}: a run of zoo takes no args", "drop args")
        return _load_run(source, folder, config["zoo"], root)
    return timm.load_timm_folder(source, folder, config, file)


def read_model_spec(folder: Path) -> str:
    """The architecture of the model in a folder as a spec, "torchvision:resnet50"; empty if it is not recorded."""
    if not (folder / CONFIG).is_file():
        return ""
    config = files.read_json(folder / CONFIG)
    try:
        spec = config["zoo"]["architecture"]["model"] if "zoo" in config else f"timm:{config['architecture']}"
    except (KeyError, TypeError):
        return ""
    return str(spec)


def to_json(
    recipe: architecture.Architecture,
    names: tuple[str, ...],
    preprocessing: Preprocessing,
    folder: Path | None,
    trained_on: tuple[str, ...] = (),
) -> dict[str, Any]:
    """The record under "zoo" in the config.json of a folder: all that `load_folder` needs besides the weights."""
    return {
        "schema": SCHEMA,
        "architecture": recipe.to_json(folder),
        "classes": list(names),
        "preprocessing": asdict(preprocessing),
        **({"trained_on": list(trained_on)} if trained_on else {}),
    }


def _load_run(source: Source, folder: Path, record: Any, root: Path) -> ProviderResult:
    file = folder / CONFIG
    if not isinstance(record, Mapping) or record.get("schema") != SCHEMA:
        schema = record.get("schema") if isinstance(record, Mapping) else None
        raise ContractError(f'{file} has the schema "{schema}"', f"this version of zoo reads {SCHEMA}")
    student = build_record(_StudentRecord, record, f'"zoo" in {file}', "its model cannot be built")
    recipe, names = student.architecture.resolve(folder), student.classes
    defaults = PreprocessingDefaults(**asdict(student.preprocessing))
    recipe = architecture.permit_code(recipe, folder, root, source.name)
    module = architecture.build_network(recipe, root, source.name)
    path = folder / WEIGHTS
    if not path.is_file():
        raise ContractError(f"{folder} contains no {WEIGHTS}", "the run may not be complete")
    weights.load_weights(module, weights.read_weights(path), str(path))
    if source.classes == 0 and recipe.heads:
        last = recipe.heads[-1]
        no_head = HeadSpec(replace(last.tap, head=architecture.head_name(last)), 0)
        module, recipe, names = architecture.attach_head(module, no_head), recipe.with_head(no_head), ()
    seen = student.trained_on
    return ProviderResult(module.eval(), recipe, files.digest(path), defaults, names or None, len(names), seen)
