"""`torchvision:NAME?root=PATH&train=true`: a torchvision data set that is already on disk. Nothing is downloaded.

Images become lossless PNG bytes. Some of these data sets are stored as pickles; torchvision reads one only if its MD5
sum matches the published one.
"""

import inspect
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from PIL import Image

from zoo_cli import specs
from zoo_cli.data.class_labels import MULTI_LABEL, ONE_LABEL, tidy_classes
from zoo_cli.data.samples import Data, Sample, number_classes, resolve_path
from zoo_cli.errors import UsageError
from zoo_cli.guard import guarded

RESERVED = {"download", "transform", "target_transform", "transforms", "loader"}
PNG_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}


def read_torchvision(rest: str, root: Path, _follow_links: bool = False) -> Data:
    """The samples of a data set, with ids "NAME/position". `root=` is relative to the workspace.

    torchvision follows every link.

    Raises UsageError for an unknown name or argument, missing files, or samples that are not an image with a class.
    """
    name, _, query = rest.partition("?")
    factory = _find_factory(name)
    arguments = _parse_arguments(name, factory, query, root)
    with guarded(f"torchvision:{name} cannot be read", "zoo downloads nothing: put the files under root"):
        dataset = factory(**arguments)
        classes = _class_names(dataset, name)
        size = len(dataset)

    def samples() -> Iterator[Sample]:
        for position in range(size):
            image, label = _load_sample(dataset, position, name)
            yield Sample(f"{name}/{position}", None, _encode_png(image), label)

    return tidy_classes(Data(classes, samples), sort=False)


def _find_factory(name: str) -> Callable[..., Any]:
    with guarded("torchvision cannot be imported", "install the version for this torch"):
        from torchvision import datasets
    names = [key for key in datasets.__all__ if isinstance(getattr(datasets, key), type) and key != "VisionDataset"]
    if name not in names:
        raise specs.nearest("torchvision data set", name, names)
    factory: Callable[..., Any] = getattr(datasets, name)
    return factory


def _parse_arguments(name: str, factory: Callable[..., Any], query: str, root: Path) -> dict[str, Any]:
    accepted = dict(inspect.signature(factory).parameters)
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values())
    named = [key for key, parameter in accepted.items() if parameter.kind is not parameter.VAR_KEYWORD]
    arguments: dict[str, Any] = {}
    for key, text in parse_qsl(query, keep_blank_values=True):
        if key in RESERVED or (key not in named and not open_ended):
            raise specs.nearest(f"argument of torchvision:{name}", key, set(named) - RESERVED)
        if key in arguments:
            raise UsageError(f'"{key}" is given twice in torchvision:{name}?{query}', "drop one")
        arguments[key] = resolve_path(text, root) if key == "root" else _parse_value(text)
    if "root" in accepted and "root" not in arguments:
        raise UsageError(f"torchvision:{name} needs the folder with its files", f"write torchvision:{name}?root=PATH")
    if "download" in accepted:
        arguments["download"] = False
    return arguments


def _parse_value(text: str) -> bool | int | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    return int(text) if text.isascii() and text.isdigit() else text


def _class_names(dataset: Any, name: str) -> tuple[str, ...]:
    """The names that the data set lists; without a list, the numbers up to its largest label."""
    listed = getattr(dataset, "classes", None)
    if listed:
        return tuple(entry if isinstance(entry, str) else ", ".join(entry) for entry in listed)
    for attribute in ("targets", "labels", "_labels"):
        labels = getattr(dataset, attribute, None)
        if labels is not None and len(labels) == len(dataset):
            return number_classes(max(int(label) for label in labels), f"torchvision:{name}")
    labels = [_load_sample(dataset, position, name)[1] for position in range(len(dataset))]
    return number_classes(max(labels, default=0), f"torchvision:{name}")


def _load_sample(dataset: Any, position: int, name: str) -> tuple[Image.Image, int]:
    with guarded(f"sample {position} of torchvision:{name} is not an image with a class"):
        image, label = dataset[position]
        if getattr(label, "numel", lambda: 1)() > 1 or (isinstance(label, list | tuple) and len(label) > 1):
            raise UsageError(f"sample {position} of torchvision:{name} has several labels: {MULTI_LABEL}", ONE_LABEL)
        number = int(label)
    if not isinstance(image, Image.Image):
        raise UsageError(f"torchvision:{name} returns {type(image).__name__}, not images")
    return image, number


def _encode_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    (image if image.mode in PNG_MODES else image.convert("RGB")).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
