"""transformers:NAME (extra transformers): classifiers and encoders of images in folders, on the hub, or by class."""

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from zoo_cli import specs
from zoo_cli.config import Source
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.guard import guarded
from zoo_cli.models import hub, weights
from zoo_cli.models.architecture import Architecture, PreprocessingDefaults, ProviderResult, count_declared_classes
from zoo_cli.models.image_processors import read_preprocessing
from zoo_cli.models.third_party import seeded, tensors_only
from zoo_cli.store import files, weights_origin
from zoo_cli.store.records import check_value

CONFIG = "config.json"
KEYS = ("model_type", "architectures", "auto_map")
"""The keys of a config.json by which it is that of transformers."""
IMAGES = "pixel_values"
UNNAMED = re.compile(r"LABEL_\d+")
ARG = "config"
"""The argument that holds the configuration of a class."""


@dataclass(frozen=True)
class _ModelClass:
    """A class of transformers, and the configuration of its network.

    `exact`: the class that the weights are of, and not only the part of it that encodes images. `classifies`: it has
    a head.
    """

    function: Any
    config: dict[str, Any]
    exact: bool
    classifies: bool


def load_transformers(source: Source, rest: str, root: Path, seed: int) -> ProviderResult:
    """A vision model of transformers: a folder (with a slash: `./vit`), `ORG/NAME` on the hub, or a class.

    A class, `ViTForImageClassification`, takes its configuration from the args: `config = {…}`; its weights are random
    or a file. `classes = 0` leaves the head out. Raises UsageError for unknown names, arguments, other inputs than
    images and code in a folder, ContractError for weights that do not fit, ZooError if they cannot be fetched.
    """
    if "/" not in rest:
        return _load_class(source, rest, root, seed)
    folder = root / rest
    if not folder.is_dir():
        folder = hub.find_folder(rest, source.name)
    return load_transformers_folder(source, folder)


def load_transformers_folder(source: Source, folder: Path) -> ProviderResult:
    """The model in a folder that transformers has written, with its preprocessing and class names.

    Raises as `load_transformers` does.
    """
    if source.weights:
        raise UsageError(f"source {source.name}: a folder has its own weights", "drop weights")
    file = folder / CONFIG
    if not file.is_file():
        raise UsageError(f"source {source.name}: no {CONFIG} in {folder}", "name a folder of transformers")
    config = files.read_json(file)
    check_value(Mapping[str, Any], config, file)
    model_class = _find_class(config, file)
    paths = [path for name in hub.WEIGHTS if (path := folder / name).is_file()]
    if not paths:
        raise ContractError(f"{folder} contains no {hub.WEIGHTS[0]} or {hub.WEIGHTS[2]}", "put its weights there")
    whole = None if paths[0].suffix == ".json" else paths[0]
    if whole is not None:
        # Raises one clear error for a corrupt file, where transformers has many.
        weights.read_weights(whole, None)
    module = _load_weights(source, model_class, folder)
    return _describe(source, model_class, module, whole, read_preprocessing(folder, model_class.config))


def list_tags(name: str) -> list[str]:
    """No class has weights by name. Raises UsageError for an unknown class."""
    _import_class(name)
    return []


def is_config(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is one of transformers."""
    return any(key in config for key in KEYS)


def _load_class(source: Source, name: str, root: Path, seed: int) -> ProviderResult:
    function = _import_class(name)
    args = dict(source.args)
    config = args.pop(ARG, {})
    check_value(Mapping[str, Any], config, f"source {source.name}: the config of {name}")
    classifies = function in _list_classes("MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING", function.config_class)
    model_class = _ModelClass(function, dict(config), True, classifies)
    what = f"source {source.name}: transformers {name}"
    with _running(what, "fix the args of the source"), seeded(seed):
        module = function(_build_config(source, model_class), **args).float().eval()
    file = None
    if source.weights not in ("", weights_origin.RANDOM):
        file = weights.locate_weights(source.weights, root, source.name)
        state = weights.read_weights(file, weights.list_keys(module, str(file)))
        weights.load_weights(module, state, str(file))
    return _describe(source, model_class, module, file, PreprocessingDefaults())


def _find_class(config: Mapping[str, Any], file: Path) -> _ModelClass:
    """The class that a config.json names, or the one that encodes images for it."""
    transformers = _import_transformers()
    kind, names = config.get("model_type"), config.get("architectures") or []
    check_value(list[str], names, f'"architectures" in {file}')
    name = names[0] if names else ""
    known = isinstance(kind, str) and kind in transformers.CONFIG_MAPPING
    if config.get("auto_map") and not (known and hasattr(transformers, name)):
        code = config["auto_map"]
        code = ", ".join(map(str, code.values())) if isinstance(code, Mapping) else str(code)
        raise UsageError(
            f"{file} needs code of its own, {code}, which zoo does not run",
            "read that code; then name it as python:FILE.py:FACTORY, with the weights",
        )
    if not known:
        raise UsageError(
            f'{file} names no model of transformers {transformers.__version__}: its model_type is "{kind}"',
            "a folder of timm is file:FOLDER or timm:hf-hub:ORG/NAME; else install a newer transformers",
        )
    config_class, own = transformers.CONFIG_MAPPING[kind], dict(config)
    classifiers = _list_classes("MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING", config_class)
    for function in (*classifiers, *_list_classes("MODEL_MAPPING", config_class)):
        if function.__name__ == name and function.main_input_name == IMAGES:
            return _ModelClass(function, own, True, function in classifiers)
    vision = getattr(config_class, "sub_configs", {}).get("vision_config")
    if vision is not None:
        config_class, own = vision, dict(config.get("vision_config") or {})
    for function in _list_classes("MODEL_MAPPING", config_class):
        if function.main_input_name == IMAGES:
            return _ModelClass(function, own, False, False)
    raise UsageError(f"{file}: {name or kind} takes no images", "name a model of images")


def _load_weights(source: Source, model_class: _ModelClass, folder: Path) -> nn.Module:
    name = model_class.function.__name__
    what = f"source {source.name}: transformers {name} from {folder}"
    hint = "fetch the folder again, or fix the args of the source"
    if _drops_head(source, model_class):
        hint = "drop classes = 0: the features of a model with its head are the same"
    with _running(what, hint), seeded(0), tensors_only():
        module, info = model_class.function.from_pretrained(
            folder,
            config=_build_config(source, model_class),
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **source.args,
        )
    prefix = f"{module.base_model_prefix}."
    whole = model_class.exact and not _drops_head(source, model_class)
    unexpected = [key for key in sorted(info["unexpected_keys"]) if whole or key.startswith(prefix)]
    faults = [
        f"{kind} {weights.list_first(keys)}"
        for kind, keys in (
            ("other shape of", sorted(str(row[0]) for row in info["mismatched_keys"])),
            ("missing", sorted(info["missing_keys"])),
            ("unexpected", unexpected),
        )
        if keys
    ]
    if faults:
        pooler = all(key.startswith(("pooler.", f"{prefix}pooler.")) for key in info["missing_keys"]) and not unexpected
        raise ContractError(
            f"the weights in {folder} do not fit {name}: {'; '.join(faults)}",
            "set args = { add_pooling_layer = false }" if pooler else f"check {CONFIG} and the args of the source",
        )
    network: nn.Module = module.float().eval()
    return network


def _describe(
    source: Source,
    model_class: _ModelClass,
    module: Any,
    file: Path | None,
    preprocessing: PreprocessingDefaults,
) -> ProviderResult:
    if next(iter(inspect.signature(module.forward).parameters), "") != IMAGES:
        raise UsageError(f"source {source.name}: {type(module).__name__} takes no images", "name a model of images")
    names: tuple[str, ...] = ()
    declared = count_declared_classes(source)
    outputs = module.config.num_labels if model_class.classifies else 0
    if model_class.classifies and outputs:
        if declared and declared != outputs:
            raise UsageError(
                f"source {source.name}: classes = {declared}, but its weights have {outputs}", "drop classes"
            )
        labels = module.config.id2label
        names = tuple(str(labels[number]) for number in sorted(labels))
    recorded = {key: value for key, value in source.args.items() if key != ARG}
    config = json.loads(module.config.to_json_string(use_diff=True))
    return ProviderResult(
        module,
        Architecture(
            f"transformers:{type(module).__name__}",
            {**recorded, ARG: config},
            0 if _drops_head(source, model_class) else None,
        ),
        weights.weights_sha256(module, file),
        preprocessing,
        None if not names or all(map(UNNAMED.fullmatch, names)) else names,
        outputs,
    )


def _build_config(source: Source, model_class: _ModelClass) -> Any:
    config = model_class.function.config_class.from_dict(model_class.config)
    if _drops_head(source, model_class):
        config.num_labels = 0
    return config


def _drops_head(source: Source, model_class: _ModelClass) -> bool:
    return model_class.classifies and count_declared_classes(source) == 0


def _import_class(name: str) -> Any:
    """A class of transformers that takes images. Raises UsageError for any other name."""
    transformers = _import_transformers()
    function: Any = getattr(transformers, name, None)
    if not (inspect.isclass(function) and issubclass(function, transformers.PreTrainedModel)):
        known = [each for each in dir(transformers) if each.endswith(("ForImageClassification", "VisionModel"))]
        guess = specs.guess_name(name, known)
        raise UsageError(
            f'no class "{name}" in transformers',
            (f"did you mean {guess}? " if guess else "") + f"a folder is written with a slash: transformers:./{name}",
        )
    model: Any = function
    if model.main_input_name != IMAGES or model.config_class is None:
        raise UsageError(f"{name} of transformers takes no images", "name a model of images")
    return model


def _list_classes(mapping: str, config_class: Any) -> tuple[Any, ...]:
    """The classes of one of transformers' tables for a configuration."""
    entry = getattr(_import_transformers(), mapping).get(config_class, ())
    return entry if isinstance(entry, tuple) else (entry,)


@contextmanager
def _running(what: str, hint: str) -> Iterator[None]:
    """A context for code of transformers: its errors on one line, without its reports and progress bars."""
    logging = _import_transformers().utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with guarded(what, hint):
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _import_transformers() -> Any:
    try:
        with guarded("transformers cannot be imported", "install the version for this torch"):
            import transformers
    except UsageError as error:
        cause = error.__cause__
        if isinstance(cause, ModuleNotFoundError) and cause.name == "transformers":
            raise UsageError("transformers is not installed", 'pip install "zoo-cli[transformers]"') from None
        raise
    return transformers
