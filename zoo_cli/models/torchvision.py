"""torchvision:NAME, torchvision's classifiers: random, with the weights of a name it knows, or from a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from zoo_cli import specs
from zoo_cli.config import Source
from zoo_cli.errors import ContractError, UsageError, ZooError
from zoo_cli.models import weights
from zoo_cli.models.architecture import Architecture, ProviderResult
from zoo_cli.models.third_party import guarded, one_line, seeded, tensors_only

AUXILIARY = {"googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",)}
"""Heads that only their own training recipe uses; they are left out, unless `args` ask for `aux_logits`."""


def load(source: Source, rest: str, root: Path, seed: int) -> ProviderResult:
    """A torchvision classifier: `resnet50`, or `resnet50.IMAGENET1K_V2` with those weights.

    With named weights the preprocessing and the class names are known. `classes = 0` leaves the head out.
    Raises UsageError for unknown names or arguments, ContractError for weights that do not fit, ZooError where weights
    cannot be fetched.
    """
    import torchvision

    name, _, tag = rest.partition(".")
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise specs.nearest("torchvision model", name, known)
    members = torchvision.models.get_model_weights(name).__members__
    if tag and source.weights and source.weights != tag:
        raise UsageError(f'source {source.name}: "{tag}" and weights = "{source.weights}"', "say the weights once")
    said = tag or source.weights
    enum = members.get(said)
    if said and enum is None and (tag or not weights.means_file(said, root)):
        raise specs.nearest(f"weights of torchvision:{name} and no file", said, members)
    file = weights.locate(said, root, source.name) if said and enum is None else None

    declared = len(source.classes) if isinstance(source.classes, tuple) else source.classes
    args = _args(source, name, declared)
    with guarded(f"source {source.name}: torchvision {name} with args {dict(source.args)}"), seeded(seed):
        module = _named(name, enum, args) if enum is not None else torchvision.models.get_model(name, **args)
    if file is not None:
        state = weights.read(file)
        if not args.get("aux_logits"):
            state = _without(state, AUXILIARY.get(name, ()))
        if declared == 0:
            state = _without(state, (_head(module),))
            _cut(module)
        weights.fill(module, state, str(file))
    elif declared == 0:
        _cut(module)
    module = module.float().eval()
    meta = _meta(enum) if enum is not None else {}
    names = meta.pop("categories", None) if declared != 0 else None
    return ProviderResult(
        module,
        Architecture(f"torchvision:{name}", _recipe(source.args, args, module), declared),
        weights.file_sha256(file) if file is not None else weights.state_sha256(module),
        meta,
        names,
        declared if declared is not None else (len(names) if names else None),
    )


def _args(source: Source, name: str, declared: int | None) -> dict[str, Any]:
    args = dict(source.args)
    for key in ("weights", "pretrained", "progress"):
        if key in args:
            raise UsageError(f'source {source.name}: "{key}" among the args', "say weights = … beside args")
    if declared:
        args.setdefault("num_classes", declared)
    if name in AUXILIARY:
        args.setdefault("aux_logits", False)
        # Without a word of it googlenet warns, and draws slowly.
        args.setdefault("init_weights", True)
    return args


def _named(name: str, enum: Any, args: Mapping[str, Any]) -> nn.Module:
    """The model with torchvision's own weights, from the cache of torch.hub or from the network."""
    import torch
    import torchvision

    keywords = {key: value for key, value in args.items() if key not in ("init_weights", "aux_logits")}
    if args.get("aux_logits"):
        keywords["aux_logits"] = True
    wanted = keywords.get("num_classes")
    have = len(enum.meta["categories"])
    if wanted not in (None, have):
        raise UsageError(f"classes = {wanted}, but the weights {enum.name} of {name} have {have}", "leave classes out")
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(enum.url).name
    if file.exists():
        # Says what is wrong with it; torchvision would say it in many ways.
        weights.read(file)
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
            raise ZooError(f"the weights {enum.name} of {name} came damaged: {one_line(error)}", "try again") from None
        raise ContractError(f"{file} does not fit {name}: {one_line(error)}", "remove it to fetch it again") from None
    if not args.get("aux_logits", True):
        module.aux_logits = False  # type: ignore[assignment]
        for head in AUXILIARY[name]:
            setattr(module, head, None)
    return module


def _meta(enum: Any) -> dict[str, Any]:
    """The preprocessing of the weights, and their class names."""
    transforms = enum.transforms()
    return {
        "input_size": int(transforms.crop_size[0]),
        "resize": int(transforms.resize_size[0]),
        "interpolation": transforms.interpolation.value,
        "mean": tuple(transforms.mean),
        "std": tuple(transforms.std),
        "categories": tuple(enum.meta["categories"]),
    }


def _recipe(said: Mapping[str, Any], args: Mapping[str, Any], module: nn.Module) -> dict[str, Any]:
    """The arguments that build it again: those said, and those that named weights imply."""
    recipe = dict(said)
    if "aux_logits" in args:
        recipe["aux_logits"] = args["aux_logits"]
    if getattr(module, "transform_input", False):
        recipe["transform_input"] = True
    if isinstance(size := getattr(module, "image_size", None), int) and size != 224:
        recipe["image_size"] = size
    return recipe


def _head(module: nn.Module) -> str:
    """The name of the classifier, which torchvision's classifiers all register last."""
    *_, last = (name for name, layer in module.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d))
    return str(last)


def _cut(module: nn.Module) -> None:
    parent, _, leaf = _head(module).rpartition(".")
    setattr(module.get_submodule(parent), leaf, nn.Identity())


def _without(state: Mapping[str, Any], modules: tuple[str, ...]) -> dict[str, Any]:
    prefixes = tuple(name + "." for name in modules)
    return {key: value for key, value in state.items() if not key.startswith(prefixes)}
