"""Digests of the files of models: what runs and predictions depend on besides the declarations."""

from collections.abc import Iterable
from pathlib import Path

from zoo_cli import specs
from zoo_cli.config import Config, Source
from zoo_cli.models.licenses import find_license
from zoo_cli.store import files, image_lists
from zoo_cli.store.model_folders import split_domain
from zoo_cli.training.run_card import START

FOLDER_FILES = ("config.json", "model.safetensors", "pytorch_model.bin")
"""The files in the folder of a model on which its outputs depend."""


def file_digests(settings: Config, source: Source) -> dict[str, str]:
    """The digests of a source's files by their paths: weights, code, folder, class names, embeddings, its args."""
    provider, rest = specs.provider("model provider", source.model)
    if provider == "file":
        rest = split_domain(rest, settings.root)[0]
    paths = [source.weights, source.class_embeddings, rest.rpartition(":")[0] if provider == "python" else rest]
    paths += [value for value in source.args.values() if isinstance(value, str)]
    paths += [source.classes[0]] if isinstance(source.classes, tuple) and len(source.classes) == 1 else []
    paths = [path for path in paths if path]
    paths += [f"{path}/{name}" for path in paths for name in FOLDER_FILES]
    return {path: files.digest(file) for path in paths if (file := settings.root / path).is_file()}


def model_digests(settings: Config, *sources: Source) -> dict[str, str]:
    """The digests of the files of several models, as run.json holds them under "inputs"."""
    digests: dict[str, str] = {}
    for source in sources:
        digests |= file_digests(settings, source)
    return {f"file {path}": digest for path, digest in sorted(digests.items())}


def list_trained_images(settings: Config, *sources: Source) -> list[Path] | None:
    """The lists of the images that the weights of models were trained on, as far as they are known.

    None if a run of an earlier version, which has no list, is among them: what it was trained on is not known.
    """
    paths: list[Path] = []
    for source in sources:
        lists = image_lists.find_image_lists(settings.root, source.name, source.model, source.trained_images)
        if not lists and image_lists.run_folder(settings.root, source.model) is not None:
            return None
        paths += lists
    return paths


def list_licenses(settings: Config, start: Source, names: Iterable[str] = ()) -> dict[str, str]:
    """The licences of the network that a student starts as, and of sources by name, where they are known."""
    declared = {source.name: source for source in settings.sources}
    sources = {START: start, **{name: declared[name] for name in names if name in declared}}
    licenses = {name: find_license(source, settings.root) for name, source in sources.items()}
    return {name: license for name, license in licenses.items() if license}
