"""file:FOLDER: a run of zoo, or a folder in the layout of timm or transformers."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from zoo_cli.config import Preprocessing, Source
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.models import architecture, timm, transformers, weights
from zoo_cli.models.architecture import ArchitectureRecord, HeadSpec, PreprocessingDefaults, ProviderResult
from zoo_cli.models.multi_domain import find_own_parts, fold_state
from zoo_cli.models.program_files import describe_program
from zoo_cli.store import files
from zoo_cli.store.model_folders import EXPERTS, SHARED, DomainRecord, find_domain, split_domain
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


@dataclass(frozen=True)
class _ExpertsRecord:
    """The same of a network of several domains, see `DomainStudent.config`."""

    schema: str
    multi: str
    architecture: ArchitectureRecord
    classes: tuple[str, ...]
    domains: tuple[DomainRecord, ...]
    preprocessing: Preprocessing
    trained_on: tuple[str, ...]


def load_folder(source: Source, rest: str, root: Path, seed: int) -> ProviderResult:  # noqa: ARG001 - providers share it
    """Load the model in a folder as its config.json describes it, with its preprocessing and class names.

    `classes = 0` leaves the head out. Raises UsageError if the folder contains no model, ContractError if its files are
    corrupt or do not belong together.
    """
    name, domain = split_domain(rest, root)
    folder = root / name
    file = folder / CONFIG
    if folder.is_file():
        raise describe_program(folder) or UsageError(
            f'source {source.name}: "{name}" is a file, not a folder', f'name a network, and weights = "{name}"'
        )
    if not file.is_file():
        raise UsageError(f'source {source.name}: no model in "{name}"', f"the folder must hold {CONFIG} and {WEIGHTS}")
    config = files.read_json(file)
    if not isinstance(config, Mapping):
        raise ContractError(f"{file} is not a JSON object")
    if source.weights:
        raise UsageError(f"source {source.name}: a folder has its own weights", "drop weights")
    number = find_domain(folder, domain) if domain else None
    if "zoo" in config:
        if source.args:
            raise UsageError(f"source {source.name}: a run of zoo takes no args", "drop args")
        if isinstance(config["zoo"], Mapping) and config["zoo"].get("schema") == EXPERTS:
            return _load_domain(source, folder, config["zoo"], number, root)
        return _load_run(source, folder, config["zoo"], root)
    if transformers.is_config(config):
        return transformers.load_transformers_folder(source, folder)
    return timm.load_timm_folder(source, folder, config, file)


def read_model_spec(folder: Path) -> str:
    """The architecture of the model in a folder as a spec, "torchvision:resnet50"; empty if it is not recorded."""
    if not (folder / CONFIG).is_file():
        return ""
    config = files.read_json(folder / CONFIG)
    try:
        if transformers.is_config(config):
            spec = f"transformers:{config['architectures'][0]}"
        else:
            spec = config["zoo"]["architecture"]["model"] if "zoo" in config else f"timm:{config['architecture']}"
    except (KeyError, TypeError, IndexError):
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


def _load_domain(source: Source, folder: Path, record: Any, number: int | None, root: Path) -> ProviderResult:
    """One domain of a network of several, as a plain network."""
    experts = build_record(_ExpertsRecord, record, f'"zoo" in {folder / CONFIG}', "its model cannot be built")
    if number is None:
        names = [f"{folder}#{domain.name}" for domain in experts.domains]
        raise UsageError(
            f"source {source.name}: {folder} has {len(names)} domains", f"name one: file:{', file:'.join(names)}"
        )
    domain = experts.domains[number]
    recipe = experts.architecture.resolve(folder).with_outputs(len(domain.classes))
    recipe = architecture.permit_code(recipe, folder, root, source.name)
    module = architecture.build_network(recipe, root, source.name)
    path = folder / WEIGHTS
    if not path.is_file():
        raise ContractError(f"{folder} contains no {WEIGHTS}", "the run may not be complete")
    digest = files.digest(path)
    parts = find_own_parts(module, experts.multi, architecture.head_name(recipe.heads[-1]))
    weights.load_weights(module, fold_state(_read_shared(path, digest), parts, number), str(path))
    names_left: tuple[str, ...] = domain.classes
    if source.classes == 0:
        module, recipe = _drop_head(module, recipe)
        names_left = ()
    return ProviderResult(
        module.eval(),
        recipe,
        digest,
        PreprocessingDefaults(**asdict(experts.preprocessing)),
        names_left or None,
        len(names_left),
        (domain.name, *(name for name in experts.trained_on if name != domain.name)),
        digest if experts.multi == SHARED else "",
    )


@lru_cache(maxsize=1)
def _read_shared(path: Path, _digest: str) -> Mapping[str, Tensor]:
    """The weights of all domains, read once for those that are loaded one after another."""
    return weights.read_weights(path, None)


def _drop_head(module: nn.Module, recipe: architecture.Architecture) -> tuple[nn.Module, architecture.Architecture]:
    last = recipe.heads[-1]
    no_head = HeadSpec(replace(last.tap, head=architecture.head_name(last)), 0)
    return architecture.attach_head(module, no_head), recipe.with_head(no_head)


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
    weights.load_weights(module, weights.read_weights(path, None), str(path))
    if source.classes == 0 and recipe.heads:
        (module, recipe), names = _drop_head(module, recipe), ()
    seen = student.trained_on
    return ProviderResult(module.eval(), recipe, files.digest(path), defaults, names or None, len(names), seen)
