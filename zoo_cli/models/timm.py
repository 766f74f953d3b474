"""timm:NAME and folders in timm's layout (extra timm): random weights, pretrained by tag, or from a file."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zoo_cli import specs
from zoo_cli.config import Source
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.guard import guarded
from zoo_cli.models import hub, weights
from zoo_cli.models.architecture import (
    Architecture,
    PreprocessingDefaults,
    ProviderResult,
    count_declared_classes,
)
from zoo_cli.models.third_party import seeded, tensors_only
from zoo_cli.store import files, weights_origin
from zoo_cli.store.records import check_value

RESERVED_ARGS = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "num_classes")
CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
WEIGHTS_FIELDS = {"url", "hf_hub_id", "hf_hub_filename", "source", "state_dict", "custom_load", "architecture", "tag"}
DATA_FIELDS = ("input_size", "mean", "std", "crop_pct", "crop_mode", "interpolation")


def load_timm(source: Source, rest: str, root: Path, seed: int) -> ProviderResult:
    """A timm model: `resnet18` with weights "none" (random), "pretrained", a tag or a file, or `resnet18.a1_in1k`.

    The preprocessing is timm's own for the architecture or the tag; for a weights file it is unknown, unless the name
    includes the tag of the file. `classes` is timm's num_classes (0: no head), `channels` its in_chans.
    `hf-hub:ORG/NAME` is a folder on the Hugging Face hub, see `load_timm_folder`.
    Raises UsageError for unknown names, tags or arguments, ContractError for weights that do not fit, ZooError if
    weights cannot be fetched.
    """
    if rest.startswith(weights_origin.HUB):
        return _load_from_hub(source, rest.removeprefix(weights_origin.HUB))
    name, _, tag = rest.partition(".")
    tags = list_tags(name)
    declared_weights = "" if source.weights == weights_origin.RANDOM and not tag else source.weights
    file = None
    if weights.is_file_name(declared_weights, root):
        file = weights.locate_weights(declared_weights, root, source.name)
    elif declared_weights:
        if tag and declared_weights not in ("pretrained", tag):
            raise UsageError(
                f'source {source.name}: "{tag}" and weights = "{declared_weights}"', "declare the weights once"
            )
        tag = tag or ("" if declared_weights == "pretrained" else declared_weights)
    if tag and tag not in tags:
        raise specs.nearest(f"weights of timm:{name} and no file", tag, tags)
    declared = count_declared_classes(source)
    full = f"{name}.{tag}" if tag else name
    options: dict[str, Any] = {"num_classes": declared}
    reaching: AbstractContextManager[None] = nullcontext()
    if file is None and (declared_weights or tag):
        pretrained_config = _import_timm().models.get_pretrained_cfg(full)
        # timm would silently draw a new head.
        _check_count(source, declared, pretrained_config.num_classes)
        hint = "connect once, or give a weights file"
        cached = _cached_weights(pretrained_config)
        options |= {"pretrained": True, "hint": hint, **cached}
        if pretrained_config.hf_hub_id and not cached:
            repository, _, revision = pretrained_config.hf_hub_id.partition("@")
            reaching = hub.reaching_hub(repository, revision, f"source {source.name}: timm {full}", hint)
    args = _model_args(source)
    with reaching:
        module = _create_model(source, full, args, seed, **options)
    if file is not None:
        state = weights.read_weights(file, weights.list_keys(module, str(file)))
        if declared == 0:
            heads = module.pretrained_cfg.get("classifier") or ()
            state = weights.drop_modules(state, [heads] if isinstance(heads, str) else heads)
        weights.load_weights(module, state, str(file))
    config = dict(module.pretrained_cfg)
    return ProviderResult(
        module,
        Architecture(f"timm:{name}", args, module.num_classes),
        weights.weights_sha256(module, file),
        PreprocessingDefaults() if file is not None and not tag else read_preprocessing(config, args),
        _class_names(config, module.num_classes),
        module.num_classes,
    )


def list_tags(name: str) -> list[str]:
    """The tags of the weights of a model. Raises UsageError for an unknown model, and where timm is not installed."""
    timm = _import_timm()
    if name not in (models := timm.list_models()):
        raise _unknown_model(name, models)
    return [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*")]


def find_uncached(name: str, tag: str) -> str | None:
    """What timm would fetch for named weights, the default ones without a tag; None if it has them already."""
    config = _import_timm().models.get_pretrained_cfg(f"{name}.{tag}" if tag else name)
    if config is None or not (config.hf_hub_id or config.url):
        return None
    if not config.hf_hub_id:
        file = Path(torch.hub.get_dir()) / "checkpoints" / Path(config.url).name
        return None if file.is_file() else str(file)
    from huggingface_hub import try_to_load_from_cache

    files = [config.hf_hub_filename] if config.hf_hub_filename else WEIGHTS
    cached = (try_to_load_from_cache(config.hf_hub_id, file) for file in files)
    return None if any(isinstance(path, str) for path in cached) else f"hf-hub:{config.hf_hub_id}"


def load_timm_folder(source: Source, folder: Path, config: Mapping[str, Any], config_file: Path) -> ProviderResult:
    """A folder in the layout of timm and of its models on the Hugging Face hub: config.json beside the weights.

    Only the preprocessing in config.json is known. Raises as `load_timm` does.
    """
    timm = _import_timm()
    pretrained = config.get("pretrained_cfg", config)
    name = config.get("architecture")
    if not isinstance(name, str) or not isinstance(pretrained, Mapping) or not timm.is_model(name):
        raise UsageError(
            f"{config_file} names no architecture of timm",
            "name a run of zoo, or a folder of timm or transformers (on the hub transformers:ORG/NAME)",
        )
    recorded = config.get("model_args") or {}
    check_value(Mapping[str, Any], recorded, f'"model_args" in {config_file}')
    declared = count_declared_classes(source)
    outputs = recorded.get("num_classes", pretrained.get("num_classes", 1000))  # timm's own default
    outputs = config.get("num_classes", outputs)
    _check_count(source, declared, outputs)
    file = next((path for name in WEIGHTS if (path := folder / name).is_file()), None)
    if file is None:
        raise ContractError(f"{folder} contains no {' or '.join(WEIGHTS)}", "put its weights there")
    # Raises one clear error for a corrupt file, where timm has many.
    weights.read_weights(file)
    # timm records the number of classes there too.
    args = {key: value for key, value in recorded.items() if key not in RESERVED_ARGS} | _model_args(source)
    # timm's own local-dir: reads no safetensors before 1.0.26, and whole pickles.
    overrides = {**_default_config(name), **pretrained, "num_classes": outputs, "file": str(file)}
    fields = timm.models.PretrainedCfg.__dataclass_fields__.keys() - WEIGHTS_FIELDS
    overrides = {key: value for key, value in overrides.items() if key in fields}
    count = outputs if declared is None else declared
    options = {"num_classes": count, "pretrained_cfg": overrides}
    hint = f"{file.name} must be that of config.json beside it"
    module = _create_model(source, name, args, 0, hint, pretrained=True, **options)
    data_config = {key: pretrained[key] for key in DATA_FIELDS if key in pretrained}
    return ProviderResult(
        module,
        Architecture(f"timm:{name}", args, module.num_classes),
        weights.weights_sha256(module, file),
        read_preprocessing(data_config, args),
        _class_names({**pretrained, **config}, module.num_classes),
        module.num_classes,
    )


def _load_from_hub(source: Source, name: str) -> ProviderResult:
    if source.weights:
        raise UsageError(f"source {source.name}: {weights_origin.HUB}{name} has its own weights", "drop weights")
    file = hub.find_folder(name, source.name) / CONFIG
    config = files.read_json(file)
    check_value(Mapping[str, Any], config, file)
    return load_timm_folder(source, file.parent, config, file)


def _default_config(name: str) -> dict[str, Any]:
    config = _import_timm().models.get_pretrained_cfg(name)
    return {} if config is None else dict(config.to_dict())


def _import_timm() -> Any:
    try:
        with guarded("timm cannot be imported", "install the version for this torch"):
            import timm
    except UsageError as error:
        cause = error.__cause__
        if isinstance(cause, ModuleNotFoundError) and cause.name == "timm":
            raise UsageError("timm is not installed", 'pip install "zoo-cli[timm]"') from None
        raise
    return timm


def _create_model(source: Source, name: str, args: Mapping[str, Any], seed: int, hint: str = "", **options: Any) -> Any:
    """timm's own factory, with its errors on one line: the user's `args`, and our `options` that are not None."""
    for key in RESERVED_ARGS:
        if key in args:
            raise UsageError(f'source {source.name}: "{key}" among the args', "use the keys weights and classes")
    what = f"source {source.name}: timm {name}" + (f" with args {dict(args)}" if args else "")
    options = {key: value for key, value in options.items() if value is not None}
    with guarded(what, hint, fetches=True), seeded(seed), tensors_only():
        module: nn.Module = _import_timm().create_model(name, **args, **options)
    return module.float().eval()


def _cached_weights(config: Any) -> dict[str, Any]:
    """The option for weights that were fetched before, so that the hub is not asked for newer ones."""
    if not config.hf_hub_id or config.custom_load:
        return {}
    names: tuple[str, ...] = WEIGHTS
    if name := config.hf_hub_filename:
        # timm prefers such a file beside it, which open_clip names without "pytorch".
        names = (name.replace("open_clip_pytorch", "open_clip").replace(".bin", ".safetensors"), name)
    repository, _, revision = config.hf_hub_id.partition("@")
    path = hub.find_cached(repository, revision, names)
    return {"pretrained_cfg_overlay": {"file": str(path)}} if path else {}


def _model_args(source: Source) -> dict[str, Any]:
    channels = {} if source.channels in (None, 3) else {"in_chans": source.channels}
    return {**channels, **source.args}


def _check_count(source: Source, declared: int | None, outputs: Any) -> None:
    if declared and isinstance(outputs, int) and declared != outputs:
        raise UsageError(f"source {source.name}: classes = {declared}, but its weights have {outputs}", "drop classes")


def read_preprocessing(config: Mapping[str, Any], args: Mapping[str, Any]) -> PreprocessingDefaults:
    """timm's data configuration as a preprocessing: its crop is `crop_pct` of the shorter side."""
    channels = args.get("in_chans", 3)
    mean, std = (tuple(config[key]) if len(config.get(key) or ()) == channels else None for key in ("mean", "std"))
    size = args.get("img_size") or config.get("input_size")
    sides = {size} if isinstance(size, int) else set(size[-2:] if size else ())
    side = sides.pop() if len(sides) == 1 else None
    resize = None
    if side is not None and config.get("crop_mode", "center") == "center":
        resize = int(side / config.get("crop_pct", 0.875))
    interpolation = config.get("interpolation", "bicubic")
    return PreprocessingDefaults(
        input_size=side,
        resize=resize,
        interpolation="bilinear" if interpolation == "random" else interpolation,
        mean=mean,
        std=std,
        channels=channels,
    )


def _class_names(config: Mapping[str, Any], classes: int) -> tuple[str, ...] | None:
    names = config.get("label_names")
    if isinstance(names, Mapping) and all(str(key).isdecimal() for key in names):
        names = [names[key] for key in sorted(names, key=int)]
    return tuple(map(str, names)) if isinstance(names, list | tuple) and len(names) == classes else None


def _unknown_model(name: str, models: list[str]) -> UsageError:
    """The error for a name among over a thousand: the nearest of all, and up to twenty of its family."""
    if name.startswith("local-dir:"):
        return UsageError(f'no timm model "{name}"', f"write file:{name.removeprefix('local-dir:')}")
    guess = specs.guess_name(name, models)
    family = (guess or name).rstrip("0123456789").split("_")[0]
    return UsageError(
        f'no timm model "{name}"',
        (f"did you mean {guess}? " if guess else "")
        + f"one of: {', '.join([other for other in models if other.startswith(family)][:20] or models[:20])}",
    )
