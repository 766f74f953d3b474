"""From a source as the user declares it to a network: module, preprocessing, classes and feature tap."""

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo_cli import pixel_range, registry, specs
from zoo_cli.config import Preprocessing, Source
from zoo_cli.errors import ContractError, UsageError, ZooError
from zoo_cli.guard import guarded
from zoo_cli.images.decoding import INTERPOLATIONS
from zoo_cli.models import cost
from zoo_cli.models.architecture import (
    Architecture,
    PreprocessingDefaults,
    ProviderResult,
    count_declared_classes,
)
from zoo_cli.models.capture import FeatureExtractor, Tap, find_tap
from zoo_cli.models.inference_only import InferenceOnly
from zoo_cli.store import weights_origin

NEEDED = ("input_size", "mean", "std")
LIST_TAGS = "zoo_cli.models.{}:list_tags"
"""The function that lists the weights of a model, in the module of its provider."""


@dataclass(frozen=True)
class LoadedModel:
    """A source, ready to run: its module in eval mode, in float32, on the CPU.

    `class_names`: in the order of the logits, None if unknown. `classes`: width of the logits, 0 without a head.
    `output`: "softmax" or "sigmoid". `weights_sha256`: of the weights file, or of the state dict if the weights come by
    name or from the seed. `tap`: where features and logits are read. `declared`: the source as the
    user declares it, before a file of class names was read. `body`: equal for models that differ only in their heads,
    empty if it is not known.
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
    declared: Source | None = None
    body: str = ""

    @property
    def title(self) -> str:
        """What errors call it, with the user's factory: "source alpha: python:models.py:small"."""
        return f"source {self.source.name}: {self.source.model}"

    def extractor(self) -> FeatureExtractor:
        """Its module, not copied, as a network that returns features and logits."""
        return FeatureExtractor(self.module, self.tap, self.title)


def is_stored(source: Source) -> bool:
    """Whether the source is stored features without a network. Raises UsageError for a bad model spec."""
    return specs.provider("model provider", source.model)[0] == "features"


def load_model(source: Source, root: Path, *, seed: int = 0, untrained: bool = False) -> LoadedModel:
    """Build a source's network and load its weights strictly; what the user declares overrides what its provider knows.

    `root`: the workspace, to which paths are relative. `seed`: for random weights. `untrained`: a torchvision or timm
    model without weights gets random ones, as a student may; else it is refused. Raises UsageError for wrong
    declarations (also for an unknown preprocessing), ContractError for weights that are corrupt or do not fit, ZooError
    if they cannot be fetched.
    """
    provider, rest = specs.provider("model provider", source.model)
    if provider != "clip" and (source.prompts or source.class_embeddings):
        key = "prompts" if source.prompts else "class_embeddings"
        raise UsageError(f"source {source.name}: {key} for {source.model}", "only clip:NAME reads class names: drop it")
    if not untrained:
        require_weights(source)
    declaration, source = source, replace(source, classes=_read_classes(source, root))
    provided: ProviderResult = registry.load(registry.MODELS[provider])(source, rest, root, seed)
    source = replace(source, trained_on=source.trained_on or provided.trained_on)
    preprocessing = _resolve_preprocessing(source, provided.preprocessing)
    names = source.classes if isinstance(source.classes, tuple) else None
    declared = count_declared_classes(source)
    if declared and not source.head:
        raise UsageError(f"source {source.name}: head = false, but classes are declared", "drop one of them")
    tap = _find_tap(source, provided, preprocessing, declared)
    if declared is not None and declared != tap.classes:
        outputs = f"the model has {tap.classes}" if tap.classes else "the model has no head"
        raise UsageError(f"source {source.name}: {declared} classes are declared, but {outputs}", "fix classes")
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
        declaration,
        provided.body,
    )


def require_weights(source: Source) -> None:
    """Raise UsageError, naming the weights there are, for a source that would be a random network by mistake."""
    if not weights_origin.lacks_weights(source.model, source.weights):
        return
    provider, name = specs.provider("model provider", source.model)
    tags: list[str] = registry.import_target(LIST_TAGS.format(provider))(name)
    names = f"{', '.join(tags)}, " if tags else ""
    raise UsageError(
        f"source {source.name}: {source.model} has no weights",
        f"set weights to one of: {names}a file, or {weights_origin.RANDOM} for a random network",
    )


def describe_model(model: LoadedModel) -> dict[str, Any]:
    """The record of a model in source.json: equal for the same source and weights, on any machine."""
    source, tap, preprocessing = model.source, model.tap, asdict(model.preprocessing)
    parameters, macs = _count_cost(model)
    return {
        "name": source.name,
        "provider": model.provider,
        "model": source.model,
        "args": dict(source.args),
        "code_sha256": model.architecture.code_sha256 or None,
        "weights_sha256": model.weights_sha256,
        "preprocessing": {
            **preprocessing,
            "mean": list(preprocessing["mean"]),
            "std": list(preprocessing["std"]),
        },
        "features": tap.dim,
        "classes": model.classes,
        "class_names": None if model.class_names is None else list(model.class_names),
        "output": model.output,
        "trained_on": list(source.trained_on),
        "depth": source.depth,
        "parameters": parameters,
        "macs": macs,
        "feature_layer": {
            "module": tap.module,
            "side": tap.side,
            "pool": tap.pool,
            "head": tap.head,
            **({"output": tap.output} if tap.output else {}),
        },
    }


def _count_cost(model: LoadedModel) -> tuple[int, int | None]:
    """The parameters of a model, and its multiply-accumulates for an image, None where another runtime computes it."""
    if isinstance(model.module, InferenceOnly):
        return model.module.weight_count, None
    with guarded(f"{model.title} cannot run a single image", "fix its forward"):
        macs = cost.count_macs(model.module, model.preprocessing.channels, model.preprocessing.input_size)
    return cost.count_parameters(model.module), macs


def make_example(preprocessing: Preprocessing) -> Tensor:
    """Two images of normal noise, always the same, in a model's input format: (2, channels, input_size, input_size)."""
    shape = (2, preprocessing.channels, preprocessing.input_size, preprocessing.input_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _find_tap(source: Source, provided: ProviderResult, preprocessing: Preprocessing, declared: int | None) -> Tap:
    example = make_example(preprocessing)
    classes = provided.classes if declared is None else declared
    try:
        with guarded(f"it cannot run a batch of {'x'.join(map(str, example.shape))}", "check input_size and channels"):
            if isinstance(provided.module, InferenceOnly):
                return provided.module.find_tap(example)
            declared_feature = source.feature_layer, source.head, source.feature_output
            return find_tap(provided.module, example, classes, *declared_feature)
    except ZooError as error:
        raise type(error)(f"source {source.name}: {error.message}", error.hint) from error.__cause__


def _read_classes(source: Source, root: Path) -> int | tuple[str, ...] | None:
    """The declared classes, with names read from their file. Raises UsageError for a negative number or empty names."""
    classes = source.classes
    if isinstance(classes, int) and classes < 0:
        raise UsageError(f"source {source.name}: classes = {classes}", "give the number of outputs, 0 for no head")
    if isinstance(classes, tuple):
        if len(classes) == 1 and (file := root / classes[0]).is_file():
            try:
                classes = tuple(line.strip() for line in file.read_text("utf-8-sig").splitlines() if line.strip())
            except UnicodeDecodeError:
                raise ContractError(f"{file} is not UTF-8 text with one class name per line") from None
        # Names may repeat: ImageNet has two cranes and two maillots.
        if not all(name.strip() for name in classes) or not classes:
            raise UsageError(f"source {source.name}: empty class names", "give one name per output, or their number")
    return classes


def _resolve_preprocessing(source: Source, defaults: PreprocessingDefaults) -> Preprocessing:
    """The provider's preprocessing, overridden by what the user declares. Raises UsageError naming missing fields."""
    keys = [field.name for field in fields(PreprocessingDefaults)]
    values = {key: value for key in keys if (value := getattr(defaults, key)) is not None}
    declared = {key: value for key in keys if (value := getattr(source, key)) is not None}
    if "input_size" in declared and "resize" in values and "resize" not in declared:
        # The share of the image that is cropped away stays the provider's.
        declared["resize"] = round(values["resize"] * declared["input_size"] / values["input_size"])
    values.update(declared)
    where = f"source {source.name}"
    if missing := [key for key in NEEDED if key not in values]:
        raise UsageError(f"{where}: {', '.join(missing)} not known", "declare how its training images were prepared")
    mean, std = (tuple(map(float, values[key])) for key in ("mean", "std"))
    channels = values.get("channels", len(mean))
    size, resize = values["input_size"], values.get("resize") or None
    if not len(mean) == len(std) == channels:
        raise UsageError(
            f"{where}: {len(mean)} means and {len(std)} stds for {channels} channels", "give one per channel"
        )
    pixel_range.check_normalisation(mean, std, where)
    if channels not in (1, 3):
        raise UsageError(f"{where}: channels = {channels}", "give 1 (gray) or 3 (RGB)")
    if size < 1 or (resize is not None and resize < size):
        raise UsageError(f"{where}: input_size = {size}, resize = {resize}", "resize must be at least input_size")
    interpolation = values.get("interpolation", "bilinear")
    if interpolation not in INTERPOLATIONS:
        raise specs.nearest("interpolation", interpolation, INTERPOLATIONS)
    return Preprocessing(size, mean, std, resize, interpolation, channels)
