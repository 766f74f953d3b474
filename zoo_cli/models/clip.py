"""clip:NAME (extra clip): a model of open_clip, whose classes are those of the task, as prompts or text embeddings."""

import inspect
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from zoo_cli import specs
from zoo_cli.config import Source
from zoo_cli.errors import UsageError, ZooError
from zoo_cli.guard import guarded
from zoo_cli.models import hub, weights, zero_shot
from zoo_cli.models.architecture import Architecture, PreprocessingDefaults, ProviderResult, count_declared_classes
from zoo_cli.models.third_party import seeded, tensors_only
from zoo_cli.models.zero_shot import DEFAULT_PROMPTS, ZeroShotNetwork
from zoo_cli.store import weights_origin
from zoo_cli.store.class_names import load_class_names

CLASSES = "classes.json"
CHECKPOINTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
GIVE_FILE = 'connect once, or give the text embeddings as a file: class_embeddings = "classes.parquet"'
BATCH = 256
"""Prompts that the text encoder reads at once."""


@dataclass(frozen=True)
class _Checkpoint:
    """A weights file, what open_clip records of it, and whether the preprocessing of its images is known."""

    file: Path | None
    config: Mapping[str, Any]
    known: bool


def load_clip(source: Source, rest: str, root: Path, seed: int) -> ProviderResult:
    """A model of open_clip as a classifier of the task: `ViT-B-32` with weights "none" (random), a tag or a file.

    The classes are those that the source declares by name, else those of the workspace `root`, in their order. Their
    text embeddings come from `class_embeddings`, a file, else from `prompts` through the model's text encoder. Without
    a head (`classes = 0`, `head = false`) and without weights no text is needed. `args` are keys of the model's
    configuration. Raises UsageError for unknown names, tags and arguments, ContractError for weights and embeddings
    that do not fit, ZooError if something cannot be fetched.
    """
    where = f"source {source.name}: clip {rest}"
    prompts = source.prompts or DEFAULT_PROMPTS
    zero_shot.check_prompts(prompts, where)
    if source.prompts and source.class_embeddings:
        raise UsageError(f"{where}: both prompts and class_embeddings", "drop one of them")
    checkpoint = _find_checkpoint(source, rest, root, where)
    args = _check_args(source, where)
    if checkpoint.config.get("quick_gelu"):
        args = {"quick_gelu": True, **args}
    declared = count_declared_classes(source)
    names = _find_classes(source, root, where) if source.weights and declared != 0 and source.head else ()
    if not names and (source.prompts or source.class_embeddings):
        raise UsageError(f"{where}: prompts or class_embeddings, but no head to make of them", "drop them")
    model = _create_model(rest, args, checkpoint, seed, where)
    digest = weights.weights_sha256(model.visual, checkpoint.file)
    head: nn.Module = nn.Identity()
    if names:
        embeddings = None
        dim = _measure_width(model, where)
        if source.class_embeddings:
            prompts = ()
            embeddings = zero_shot.read_embeddings(root / source.class_embeddings, names, dim, where)
        texts = _encode_prompts(model, rest, prompts, names, where) if embeddings is None else embeddings
        head = zero_shot.make_head(texts, model.logit_scale.detach().exp().item(), _read_bias(model))
        digest = zero_shot.digest_head(digest, names, prompts, embeddings)
    elif declared and not source.weights:  # the network of a run, whose weights follow
        with seeded(seed):
            head = nn.Linear(_measure_width(model, where), declared, bias=_read_bias(model) is not None)
    return ProviderResult(
        ZeroShotNetwork(model.visual, head).eval(),
        Architecture(f"clip:{rest}", args, len(names) or declared or 0),
        digest,
        _read_preprocessing(model.visual, checkpoint),
        names or None,
        len(names) or declared or 0,
    )


def list_tags(name: str) -> list[str]:
    """The tags of the weights of a model. Raises UsageError for an unknown model, and where open_clip is missing."""
    open_clip = _import_open_clip()
    if name not in (models := open_clip.list_models()):
        guess = specs.guess_name(name, models)
        family = [other for other in models if other.startswith((guess or name).split("-")[0])][:20]
        raise UsageError(
            f'no model "{name}" in open_clip',
            (f"did you mean {guess}? " if guess else "") + f"one of: {', '.join(family or models[:20])}",
        )
    return list(open_clip.list_pretrained_tags_by_model(name))


def find_uncached(name: str, tag: str) -> str | None:
    """What would be fetched for the weights of a tag; None if they are in a cache."""
    config = _find_tag(name, tag)
    return None if _find_cached(config) is not None else str(config.get("hf_hub") or config.get("url"))


def _find_classes(source: Source, root: Path, where: str) -> tuple[str, ...]:
    """The class names that a source declares, else those of the workspace."""
    if isinstance(source.classes, tuple):
        return source.classes
    file = root / CLASSES
    if not file.is_file():
        raise UsageError(
            f"{where}: the classes of the task are not known yet",
            f"zoo split writes {CLASSES}; or declare classes, a list of names",
        )
    return load_class_names(file)


def _find_checkpoint(source: Source, name: str, root: Path, where: str) -> _Checkpoint:
    tags = list_tags(name)
    if source.weights in ("", weights_origin.RANDOM):
        return _Checkpoint(None, {}, True)
    if weights.is_file_name(source.weights, root):
        file = weights.locate_weights(source.weights, root, source.name)
        weights.read_weights(file)  # raises one clear error for a damaged file
        return _Checkpoint(file, {}, False)
    if source.weights not in tags:
        raise specs.nearest(f"weights of clip:{name} and no file", source.weights, tags)
    config = _find_tag(name, source.weights)
    return _Checkpoint(_find_cached(config) or _fetch(config, f"{where}, {source.weights}"), config, True)


def _find_tag(name: str, tag: str) -> Mapping[str, Any]:
    config: Mapping[str, Any] = _import_open_clip().get_pretrained_cfg(name, tag)
    return config


def _find_cached(config: Mapping[str, Any]) -> Path | None:
    """The file of a tag in the hub's cache or in open_clip's own."""
    if config.get("hf_hub"):
        repository, name = os.path.split(config["hf_hub"])
        names = (f"{name.rpartition('.')[0]}.safetensors", name) if name else CHECKPOINTS
        return hub.find_cached(repository, "", names)
    file = Path("~/.cache/clip").expanduser() / Path(config["url"]).name
    return file if file.is_file() else None


def _fetch(config: Mapping[str, Any], where: str) -> Path:
    open_clip, hint = _import_open_clip(), "connect once, or give a weights file"
    if config.get("hf_hub"):
        with hub.reaching_hub(os.path.split(config["hf_hub"])[0], "", where, hint):
            return Path(open_clip.download_pretrained(config))
    with guarded(f"{where} cannot be fetched", hint, fetches=True), tensors_only():
        return Path(open_clip.download_pretrained(config))


def _check_args(source: Source, where: str) -> dict[str, Any]:
    own = inspect.signature(_import_open_clip().create_model).parameters
    for key in source.args:
        if key in own and not key.startswith("force_"):
            raise UsageError(f'{where}: "{key}" among the args', "they are keys such as embed_dim and vision_cfg")
    return dict(source.args)


def _create_model(name: str, args: Mapping[str, Any], checkpoint: _Checkpoint, seed: int, where: str) -> Any:
    open_clip = _import_open_clip()
    what = where + (f" with args {dict(args)}" if args else "")
    reaching: AbstractContextManager[None] = nullcontext()
    # The configuration of a text encoder of transformers comes from the hub, its weights from the checkpoint.
    encoder = open_clip.get_model_config(name)["text_cfg"].get("hf_model_name", "")
    if encoder and hub.find_cached(encoder, "", (hub.CONFIG,)) is None:
        hint = "connect once, or name a model whose text encoder is open_clip's own"
        reaching = hub.reaching_hub(encoder, "", f"{where}: its text encoder {encoder}", hint)
    with reaching, _quiet(), guarded(what, "fix the args of the source", fetches=True), seeded(seed), tensors_only():
        model = open_clip.create_model(name, precision="fp32", pretrained_text=False, **args)
    if checkpoint.file is not None:
        with _quiet(), guarded(f"{where}: {checkpoint.file}", "name the model that it is of"), tensors_only():
            open_clip.load_checkpoint(model, str(checkpoint.file))
    return model.float().eval()


def _measure_width(model: Any, where: str) -> int:
    """The width of the image embeddings of a model."""
    side = _read_side(model.visual)
    with guarded(f"{where} cannot run a single image", "fix its args"), torch.no_grad():
        output = model.visual(torch.zeros(1, 3, side, side))
    width: int = (output[0] if isinstance(output, tuple) else output).shape[-1]
    return width


def _encode_prompts(
    model: Any, name: str, prompts: Sequence[str], names: Sequence[str], where: str
) -> NDArray[np.float32]:
    """The text embedding (C, D) of each class: the mean over its prompts."""
    tokenizer = _load_tokenizer(model, name, where)
    texts, parts = zero_shot.fill_prompts(prompts, names), []
    with _quiet(), guarded(f"{where}: the text encoder", GIVE_FILE), torch.no_grad():
        for start in range(0, len(texts), BATCH):
            parts.append(model.encode_text(tokenizer(texts[start : start + BATCH])).float().numpy())
    groups = np.repeat(np.arange(len(names)), len(prompts))
    try:
        return zero_shot.average_embeddings(np.concatenate(parts), groups, len(names))
    except ValueError as error:
        raise UsageError(
            f'{where}: the text embedding of "{names[error.args[0]]}" is zero or not finite', "check its weights"
        ) from None


def _load_tokenizer(model: Any, name: str, where: str) -> Any:
    open_clip = _import_open_clip()
    text = getattr(model, "text", model)
    options = {} if getattr(text, "context_length", None) is None else {"context_length": text.context_length}
    repository = open_clip.get_model_config(name)["text_cfg"].get("hf_tokenizer_name", "")
    try:
        if repository and hub.find_cached(repository, "", TOKENIZER) is None:
            with hub.reaching_hub(repository, "", f"{where}: the tokenizer {repository}", GIVE_FILE), _quiet():
                return open_clip.get_tokenizer(name, **options)
        with _quiet(), guarded(f"{where}: the tokenizer", GIVE_FILE, fetches=True), tensors_only():
            return open_clip.get_tokenizer(name, **options)
    except ZooError as error:
        raise type(error)(error.message, GIVE_FILE) from error.__cause__


def _read_bias(model: Any) -> float | None:
    """What a model of the SigLIP kind adds to its logits."""
    bias = getattr(model, "logit_bias", None)
    return None if bias is None else float(bias.detach())


def _read_side(visual: Any) -> int:
    size = visual.image_size
    return int(size if isinstance(size, int) else size[0])


def _read_preprocessing(visual: Any, checkpoint: _Checkpoint) -> PreprocessingDefaults:
    """How open_clip prepares the images of its own weights; of a weights file it is not known."""
    if not checkpoint.known:
        return PreprocessingDefaults()
    config = {**visual.preprocess_cfg, **checkpoint.config}
    side, mode = _read_side(visual), config["resize_mode"]
    return PreprocessingDefaults(
        input_size=side if mode in ("shortest", "squash") else None,  # zoo pads no images
        resize=side if mode == "shortest" else None,
        interpolation=config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        channels=3,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """A context without what open_clip logs and warns of."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _import_open_clip() -> Any:
    try:
        with guarded("open_clip cannot be imported", "install the version for this torch"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import open_clip
    except UsageError as error:
        cause = error.__cause__
        if isinstance(cause, ModuleNotFoundError) and cause.name == "open_clip":
            raise UsageError("open_clip is not installed", 'pip install "zoo-cli[clip]"') from None
        raise
    return open_clip
