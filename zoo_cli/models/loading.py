"""From a source as the user declares it to a network: module, preprocessing, classes, and where it is tapped."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zoo_cli import registry, specs
from zoo_cli.config import Preprocessing, Source
from zoo_cli.errors import ContractError, UsageError, ZooError
from zoo_cli.models import cost
from zoo_cli.models.architecture import Architecture, ProviderResult
from zoo_cli.models.capture import Tap, find_tap
from zoo_cli.models.third_party import guarded

NEEDED = ("input_size", "mean", "std")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")


@dataclass(frozen=True)
class LoadedModel:
    """A source, ready to run: its module in eval mode, in float32, on the CPU.

    `classes`: width of its logits, 0 without a head. `class_names`: in that order, None where unknown.
    `weights_sha256`: of the weights file, or of the state dict where weights come by name or from the seed.
    """

    source: Source
    provider: str
    module: nn.Module
    preprocessing: Preprocessing
    class_names: tuple[str, ...] | None
    classes: int
    output: str
    weights_sha256: str
    tap: Tap
    architecture: Architecture


def is_stored(source: Source) -> bool:
    """Whether the source is stored features, of which no model is known. Raises UsageError for a bad model spec."""
    return specs.provider("model provider", source.model)[0] == "features"


def load_model(source: Source, root: Path, *, seed: int = 0) -> LoadedModel:
    """Build the source's network and load its weights strictly; the user's word overrides what the provider knows.

    `root`: the workspace, to which paths are relative. `seed`: of random weights, where none are declared. Raises
    UsageError for wrong declarations (among them a preprocessing that nobody knows), ContractError for weights that
    are corrupt or do not fit, ZooError where they cannot be fetched.
    """
    provider, rest = specs.provider("model provider", source.model)
    source = replace(source, classes=_declared(source, root))
    provided: ProviderResult = registry.load(registry.MODELS[provider])(source, rest, root, seed)
    preprocessing = _preprocessing(source, provided.preprocessing)
    names = source.classes if isinstance(source.classes, tuple) else None
    declared = len(source.classes) if isinstance(source.classes, tuple) else source.classes
    if declared and not source.head:
        raise UsageError(f"source {source.name}: head = false, but classes are declared", "leave one of them out")
    tap = _tap(source, provided, preprocessing, declared)
    if declared is not None and declared != tap.classes:
        had = f"the model has {tap.classes}" if tap.classes else "the model has no head"
        raise UsageError(f"source {source.name}: {declared} classes are declared, but {had}", "mend classes")
    if names is None and provided.class_names is not None and len(provided.class_names) == tap.classes:
        names = provided.class_names
    return LoadedModel(
        source,
        provider,
        provided.module,
        preprocessing,
        names or None,
        tap.classes,
        source.output,
        provided.weights_sha256,
        tap,
        provided.architecture,
    )


def describe_model(model: LoadedModel) -> dict[str, Any]:
    """What source.json says of a model: the same for the same source and weights, on any machine."""
    source, tap, said = model.source, model.tap, asdict(model.preprocessing)
    return {
        "name": source.name,
        "provider": model.provider,
        "model": source.model,
        "args": dict(source.args),
        "code_sha256": model.architecture.code_sha256 or None,
        "weights_sha256": model.weights_sha256,
        "preprocessing": {**said, "mean": list(said["mean"]), "std": list(said["std"])},
        "features": tap.dim,
        "classes": model.classes,
        "class_names": None if model.class_names is None else list(model.class_names),
        "output": model.output,
        "trained_on": list(source.trained_on),
        "depth": source.depth,
        "parameters": cost.parameters(model.module),
        "macs": cost.macs(model.module, model.preprocessing.channels, model.preprocessing.input_size),
        "feature_layer": {"module": tap.module, "side": tap.side, "pool": tap.pool, "head": tap.head},
    }


def _tap(source: Source, provided: ProviderResult, preprocessing: Preprocessing, declared: int | None) -> Tap:
    shape = (2, preprocessing.channels, preprocessing.input_size, preprocessing.input_size)
    example = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    classes = provided.classes if declared is None else declared
    try:
        with guarded(f"it cannot run a batch of {'x'.join(map(str, shape))}", "check input_size and channels"):
            return find_tap(provided.module, example, classes, source.feature_layer, source.head)
    except ZooError as error:
        raise type(error)(f"source {source.name}: {error.message}", error.hint) from error.__cause__


def _declared(source: Source, root: Path) -> int | tuple[str, ...] | None:
    """The classes as declared, with a file of names read. Raises UsageError for empty names."""
    classes = source.classes
    if isinstance(classes, int) and classes < 0:
        raise UsageError(f"source {source.name}: classes = {classes}", "how many outputs it has, 0 for no head")
    if isinstance(classes, tuple):
        if len(classes) == 1 and (file := root / classes[0]).is_file():
            try:
                classes = tuple(line.strip() for line in file.read_text("utf-8-sig").splitlines() if line.strip())
            except UnicodeDecodeError:
                raise ContractError(f"{file} is no text with one class name a line") from None
        # Names may repeat: ImageNet has two cranes and two maillots.
        if not all(name.strip() for name in classes) or not classes:
            raise UsageError(f"source {source.name}: empty class names", "one name for each output, or their number")
    return classes


def _preprocessing(source: Source, known: Mapping[str, Any]) -> Preprocessing:
    """What the provider knows, overridden by what the user says. Raises UsageError naming what nobody said."""
    keys = ("input_size", "resize", "interpolation", "mean", "std", "channels")
    values = {key: value for key in keys if (value := known.get(key)) is not None}
    said = {key: value for key in keys if (value := getattr(source, key)) is not None}
    if "input_size" in said and "resize" in values and "resize" not in said:
        # The share of the picture that is cut away stays the provider's.
        said["resize"] = round(values["resize"] * said["input_size"] / values["input_size"])
    values.update(said)
    where = f"source {source.name}"
    if missing := [key for key in NEEDED if key not in values]:
        raise UsageError(f"{where}: {', '.join(missing)} not known", "say how its training images were prepared")
    mean, std = (tuple(map(float, values[key])) for key in ("mean", "std"))
    channels = values.get("channels", len(mean))
    size, resize = values["input_size"], values.get("resize") or None
    if not len(mean) == len(std) == channels:
        raise UsageError(f"{where}: {len(mean)} means and {len(std)} stds for {channels} channels", "one for each")
    if not (all(map(math.isfinite, mean + std)) and all(value > 0 for value in std)):
        raise UsageError(f"{where}: mean and std must be finite, std above 0", "they are for values in [0, 1]")
    if channels not in (1, 3):
        raise UsageError(f"{where}: channels = {channels}", "1 (gray) or 3 (RGB)")
    if size < 1 or (resize is not None and resize < size):
        raise UsageError(f"{where}: input_size = {size}, resize = {resize}", "a crop is cut from a larger side")
    interpolation = values.get("interpolation", "bilinear")
    if interpolation not in INTERPOLATIONS:
        raise specs.nearest("interpolation", interpolation, INTERPOLATIONS)
    return Preprocessing(size, mean, std, resize, interpolation, channels)
