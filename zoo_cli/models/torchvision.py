"""torchvision:NAME, torchvision's classifiers: with random or named weights, or weights from a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zoo_cli import specs
from zoo_cli.config import Source
from zoo_cli.errors import ContractError, UsageError, ZooError
from zoo_cli.guard import guarded, one_line
from zoo_cli.models import weights
from zoo_cli.models.architecture import (
    Architecture,
    PreprocessingDefaults,
    ProviderResult,
    count_declared_classes,
)
from zoo_cli.models.third_party import seeded, tensors_only
from zoo_cli.models.torchvision_files import infer_args, rename_keys
from zoo_cli.store import weights_origin

try:
    import torchvision
except (ImportError, RuntimeError) as error:  # the wheel of another torch fails with a RuntimeError
    raise UsageError(f"torchvision cannot be imported: {error}", "install the version for this torch") from None

AUXILIARY = {"googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",)}
"""Heads used only by their own training recipe; they are left out unless `args` set `aux_logits`."""


def load_torchvision(source: Source, rest: str, root: Path, seed: int) -> ProviderResult:
    """A torchvision classifier: `resnet50`, or `resnet50.IMAGENET1K_V2` with those weights.

    With named weights the preprocessing and the class names are known. `classes = 0` leaves the head out.
    Raises UsageError for unknown names or arguments, ContractError for weights that do not fit, ZooError if weights
    cannot be fetched.
    """
    name, _, tag = rest.partition(".")
    members = _list_members(name)
    if tag and source.weights and source.weights != tag:
        raise UsageError(f'source {source.name}: "{tag}" and weights = "{source.weights}"', "declare the weights once")
    declared_weights = "" if source.weights == weights_origin.RANDOM else tag or source.weights
    enum = members.get(declared_weights)
    if declared_weights and enum is None and (tag or not weights.is_file_name(declared_weights, root)):
        raise specs.nearest(f"weights of torchvision:{name} and no file", declared_weights, members)
    file = weights.locate_weights(declared_weights, root, source.name) if declared_weights and enum is None else None

    declared = count_declared_classes(source)
    args = _model_args(source, name, declared)
    state = {} if file is None else rename_keys(name, weights.read_weights(file))
    if file is not None:
        args = infer_args(name, file, state, args, members, f"source {source.name}")
    what = f"source {source.name}: torchvision {name} with args {dict(source.args)}"
    with guarded(what, fetches=True), seeded(seed):
        module = _load_named(name, enum, args) if enum is not None else torchvision.models.get_model(name, **args)
    if file is not None:
        if not args.get("aux_logits"):
            state = weights.drop_modules(state, AUXILIARY.get(name, ()))
        if declared == 0:
            state = weights.drop_modules(state, (_head_name(module),))
            _remove_head(module)
        weights.load_weights(module, state, str(file))
    elif declared == 0:
        _remove_head(module)
    module = module.float().eval()
    names = tuple(enum.meta["categories"]) if enum is not None and declared != 0 else None
    return ProviderResult(
        module,
        Architecture(f"torchvision:{name}", _recorded_args(source.args, args, module), declared),
        weights.weights_sha256(module, file),
        _read_preprocessing(enum) if enum is not None else PreprocessingDefaults(),
        names,
        declared if declared is not None else (len(names) if names else None),
    )


def list_tags(name: str) -> list[str]:
    """The names of the weights of a model. Raises UsageError for an unknown model."""
    return sorted(_list_members(name))


def cached_file(rest: str, declared_weights: str) -> Path | None:
    """Where torch.hub keeps the weights of `NAME` or `NAME.WEIGHTS`; None for weights that have no name."""
    name, _, tag = rest.partition(".")
    enum = _list_members(name).get(tag or declared_weights)
    return None if enum is None else _cached_path(enum)


def _cached_path(enum: Any) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(enum.url).name


def _list_members(name: str) -> Mapping[str, Any]:
    models = torchvision.models.list_models(module=torchvision.models)
    if name not in models:
        raise specs.nearest("torchvision model", name, models)
    members: Mapping[str, Any] = torchvision.models.get_model_weights(name).__members__
    return members


def _model_args(source: Source, name: str, declared: int | None) -> dict[str, Any]:
    args = dict(source.args)
    for key in ("weights", "pretrained", "progress"):
        if key in args:
            raise UsageError(f'source {source.name}: "{key}" among the args', "use the key weights")
    if declared:
        args.setdefault("num_classes", declared)
    if name in AUXILIARY:
        args.setdefault("aux_logits", False)
        # Without it googlenet warns, and initialises slowly.
        args.setdefault("init_weights", True)
    return args


def _load_named(name: str, enum: Any, args: Mapping[str, Any]) -> nn.Module:
    """The model with torchvision's own weights, from the cache of torch.hub or from the network."""
    keywords = {key: value for key, value in args.items() if key not in ("init_weights", "aux_logits")}
    if args.get("aux_logits"):
        keywords["aux_logits"] = True
    declared = keywords.get("num_classes")
    outputs = len(enum.meta["categories"])
    if declared not in (None, outputs):
        raise UsageError(f"classes = {declared}, but the weights {enum.name} of {name} have {outputs}", "drop classes")
    file = _cached_path(enum)
    if file.exists():
        # Raises one clear error for a corrupt file, where torchvision has many.
        weights.read_weights(file)
    try:
        with tensors_only():
            module: nn.Module = torchvision.models.get_model(name, weights=enum, progress=False, **keywords)
    except OSError as error:
        raise ZooError(
            f"the weights {enum.name} of {name} could not be fetched: {one_line(error)}",
            f"connect once, or put {enum.url} into {file.parent}",
        ) from None
    except RuntimeError as error:
        if not file.exists():
            raise ZooError(
                f"the weights {enum.name} of {name} arrived damaged: {one_line(error)}", "try again"
            ) from None
        raise ContractError(f"{file} does not fit {name}: {one_line(error)}", "remove it to fetch it again") from None
    if not args.get("aux_logits", True):
        module.aux_logits = False  # type: ignore[assignment]
        for head in AUXILIARY[name]:
            setattr(module, head, None)
    return module


def _read_preprocessing(enum: Any) -> PreprocessingDefaults:
    """The preprocessing of named weights."""
    transforms = enum.transforms()
    return PreprocessingDefaults(
        input_size=int(transforms.crop_size[0]),
        resize=int(transforms.resize_size[0]),
        interpolation=transforms.interpolation.value,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )


def _recorded_args(declared: Mapping[str, Any], args: Mapping[str, Any], module: nn.Module) -> dict[str, Any]:
    """The arguments that build the module again: the declared ones, and those that named weights imply."""
    recorded = dict(declared)
    if "aux_logits" in args:
        recorded["aux_logits"] = args["aux_logits"]
    if getattr(module, "transform_input", False):
        recorded["transform_input"] = True
    if isinstance(size := getattr(module, "image_size", None), int) and size != 224:
        recorded["image_size"] = size
    return recorded


def _head_name(module: nn.Module) -> str:
    """The name of the classifier, which all of torchvision's classifiers register last."""
    *_, last = (name for name, layer in module.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d))
    return str(last)


def _remove_head(module: nn.Module) -> None:
    parent, _, leaf = _head_name(module).rpartition(".")
    setattr(module.get_submodule(parent), leaf, nn.Identity())
