"""timm:NAME and local folders in timm's layout (extra timm): random, pretrained by tag, or from a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from zoo_cli import specs
from zoo_cli.config import Source
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.models import weights
from zoo_cli.models.architecture import Architecture, ProviderResult
from zoo_cli.models.third_party import guarded, seeded, tensors_only

OURS = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "num_classes")
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
SOURCES = {"url", "hf_hub_id", "hf_hub_filename", "source", "state_dict", "custom_load", "architecture", "tag"}
DATA = ("input_size", "mean", "std")


def load(source: Source, rest: str, root: Path, seed: int) -> ProviderResult:
    """A timm model: `resnet18` with weights "" (random), "pretrained", a tag or a file, or `resnet18.a1_in1k`.

    The preprocessing is timm's own for the architecture or the tag; it is unknown for a file of weights, unless the
    name says the tag that the file holds. `classes` is timm's num_classes (0: no head), `channels` its in_chans.
    Raises UsageError for unknown names, tags or arguments, ContractError for weights that do not fit, ZooError where
    weights cannot be fetched.
    """
    timm = _timm()
    name, _, tag = rest.partition(".")
    if name not in (known := timm.list_models()):
        raise specs.nearest("timm model", name, _near(name, known))
    said = source.weights
    file = weights.locate(said, root, source.name) if weights.means_file(said, root) else None
    if said and file is None:
        if tag and said not in ("pretrained", tag):
            raise UsageError(f'source {source.name}: "{tag}" and weights = "{said}"', "say the weights once")
        tag = tag or ("" if said == "pretrained" else said)
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*")]
    if tag and tag not in tags:
        raise specs.nearest(f"weights of timm:{name} and no file", tag, tags)
    pretrained = file is None and bool(said or tag)
    declared = len(source.classes) if isinstance(source.classes, tuple) else source.classes
    full = f"{name}.{tag}" if tag else name
    ours: dict[str, Any] = {"num_classes": declared}
    if pretrained:
        own = timm.models.get_pretrained_cfg(full)
        # timm would silently draw a new head.
        _check_count(source, declared, own.num_classes)
        ours |= {"pretrained": True, "hint": "connect once, or say a weights file", **_from_cache(own)}
    module = _create(source, full, _args(source), seed, **ours)
    if file is not None:
        state = weights.read(file)
        if declared == 0:
            heads = module.pretrained_cfg.get("classifier") or ()
            prefixes = tuple(head + "." for head in ([heads] if isinstance(heads, str) else heads))
            state = {key: value for key, value in state.items() if not key.startswith(prefixes)}
        weights.fill(module, state, str(file))
    config = dict(module.pretrained_cfg)
    return ProviderResult(
        module,
        Architecture(f"timm:{name}", _args(source), module.num_classes),
        weights.file_sha256(file) if file is not None else weights.state_sha256(module),
        {} if file is not None and not tag else _preprocessing(config, _args(source)),
        _names(config, module.num_classes),
        module.num_classes,
    )


def load_folder(source: Source, folder: Path, config: Mapping[str, Any], config_file: Path) -> ProviderResult:
    """A folder in the layout of timm and of its models on the Hugging Face hub: config.json beside the weights.

    Only the preprocessing that config.json says is known. Raises as `load` does.
    """
    timm = _timm()
    said = config.get("pretrained_cfg", config)
    name = config.get("architecture")
    if not isinstance(name, str) or not isinstance(said, Mapping) or not timm.is_model(name):
        raise UsageError(f"{config_file} names no architecture of timm", "a run of zoo, or a folder in timm's layout")
    declared = len(source.classes) if isinstance(source.classes, tuple) else source.classes
    outputs = config.get("num_classes", said.get("num_classes", 1000))  # timm's own default
    _check_count(source, declared, outputs)
    file = next((path for name in WEIGHTS if (path := folder / name).is_file()), None)
    if file is None:
        raise ContractError(f"{folder} holds no {' or '.join(WEIGHTS)}", "a model's folder holds its weights")
    # Says what is wrong with it; timm would say it in many ways.
    weights.read(file)
    args = {**config.get("model_args", {}), **_args(source)}
    # timm's own local-dir: reads no safetensors before 1.0.26, and pickles whole.
    own = {**_config_of(name), **said, "num_classes": outputs, "file": str(file)}
    fields = timm.models.PretrainedCfg.__dataclass_fields__.keys() - SOURCES
    own = {key: value for key, value in own.items() if key in fields}
    count = outputs if declared is None else declared
    module = _create(source, name, args, 0, pretrained=True, num_classes=count, pretrained_cfg=own)
    data = {key: said[key] for key in (*DATA, "crop_pct", "crop_mode", "interpolation") if key in said}
    return ProviderResult(
        module,
        Architecture(f"timm:{name}", args, module.num_classes),
        weights.file_sha256(file),
        _preprocessing(data, args),
        _names({**said, **config}, module.num_classes),
        module.num_classes,
    )


def _config_of(name: str) -> dict[str, Any]:
    config = _timm().models.get_pretrained_cfg(name)
    return {} if config is None else dict(config.to_dict())


def _timm() -> Any:
    try:
        import timm
    except ImportError:
        raise UsageError("timm is not installed", 'pip install "zoo-cli[timm]"') from None
    return timm


def _create(source: Source, name: str, args: Mapping[str, Any], seed: int, hint: str = "", **ours: Any) -> Any:
    """timm's own factory, with its errors in one line: the user's `args` beside what we say ourselves."""
    for key in OURS:
        if key in args:
            raise UsageError(f'source {source.name}: "{key}" among the args', "say weights or classes beside args")
    what = f"source {source.name}: timm {name}" + (f" with args {dict(args)}" if args else "")
    said = {key: value for key, value in ours.items() if value is not None}
    with guarded(what, hint), seeded(seed), tensors_only():
        module: nn.Module = _timm().create_model(name, **args, **said)
    return module.float().eval()


def _from_cache(config: Any) -> dict[str, Any]:
    """Weights that were fetched before, without asking the network whether there are newer ones."""
    if not config.hf_hub_id or config.hf_hub_filename or config.custom_load:
        return {}
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(config.hf_hub_id, "model.safetensors")
    return {"pretrained_cfg_overlay": {"file": path}} if isinstance(path, str) else {}


def _args(source: Source) -> dict[str, Any]:
    channels = {} if source.channels in (None, 3) else {"in_chans": source.channels}
    return {**channels, **source.args}


def _check_count(source: Source, declared: int | None, outputs: Any) -> None:
    if declared and isinstance(outputs, int) and declared != outputs:
        raise UsageError(f"source {source.name}: classes = {declared}, but its weights have {outputs}", "leave it out")


def _preprocessing(config: Mapping[str, Any], args: Mapping[str, Any]) -> dict[str, Any]:
    """timm's data configuration in our words: the crop is `crop_pct` of the shorter side."""
    channels = args.get("in_chans", 3)
    known: dict[str, Any] = {"channels": channels}
    known.update({key: tuple(config[key]) for key in ("mean", "std") if len(config.get(key) or ()) == channels})
    size = args.get("img_size") or config.get("input_size")
    sides = {size} if isinstance(size, int) else set(size[-2:] if size else ())
    if len(sides) == 1:
        known["input_size"] = sides.pop()
    if "input_size" in known and config.get("crop_mode", "center") == "center":
        known["resize"] = int(known["input_size"] / config.get("crop_pct", 0.875))
    interpolation = config.get("interpolation", "bicubic")
    known["interpolation"] = "bilinear" if interpolation == "random" else interpolation
    return known


def _names(config: Mapping[str, Any], classes: int) -> tuple[str, ...] | None:
    names = config.get("label_names")
    return tuple(map(str, names)) if isinstance(names, list | tuple) and len(names) == classes else None


def _near(name: str, known: list[str]) -> list[str]:
    """timm has over a thousand names: those of the same family are enough to choose from."""
    family = name.rstrip("0123456789").split("_")[0]
    return [other for other in known if other.startswith(family)][:20] or known[:20]
