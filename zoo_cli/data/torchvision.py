"""`torchvision:NAME?root=PATH&train=true`: a data set of torchvision that lies on disk. Nothing is downloaded.

Images become PNG bytes, without loss. Some of these data sets are stored as pickles; torchvision reads one only after
its MD5 sum has matched the published one.
"""

import inspect
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from PIL import Image

from zoo_cli import specs
from zoo_cli.data.samples import Data, Sample, numbered, resolve_path, shown
from zoo_cli.errors import UsageError

OURS = {"download", "transform", "target_transform", "transforms", "loader"}
PNG_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}
_BROKEN = (RuntimeError, OSError, ValueError, TypeError, KeyError, ImportError)


def read(rest: str, root: Path) -> Data:
    """The samples of a data set, ids "NAME/position". `root=` is relative to the workspace.

    Raises UsageError for an unknown name or argument, missing files, or samples that are not an image and a class.
    """
    name, _, query = rest.partition("?")
    factory = _factory(name)
    arguments = _arguments(name, factory, query, root)
    try:
        dataset = factory(**arguments)
    except _BROKEN as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"torchvision:{name} cannot be read: {reason}", "zoo downloads nothing: put the files under root"
        ) from None
    classes = _classes(dataset, name)

    def samples() -> Iterator[Sample]:
        for position in range(len(dataset)):
            image, label = _pair(dataset, position, name)
            yield Sample(f"{name}/{position}", None, _png(image), label, None)

    return Data(classes, samples)


def _factory(name: str) -> Callable[..., Any]:
    try:
        from torchvision import datasets
    except (ImportError, RuntimeError) as error:
        raise UsageError(f"torchvision cannot be imported: {error}", "install it for the torch that is here") from None
    known = [key for key in datasets.__all__ if isinstance(getattr(datasets, key), type) and key != "VisionDataset"]
    if name not in known:
        raise specs.nearest("torchvision data set", name, known)
    factory: Callable[..., Any] = getattr(datasets, name)
    return factory


def _arguments(name: str, factory: Callable[..., Any], query: str, root: Path) -> dict[str, Any]:
    accepted = dict(inspect.signature(factory).parameters)
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values())
    known = [key for key, parameter in accepted.items() if parameter.kind is not parameter.VAR_KEYWORD]
    arguments: dict[str, Any] = {}
    for key, text in parse_qsl(query, keep_blank_values=True):
        if key in OURS or (key not in known and not open_ended):
            raise specs.nearest(f"argument of torchvision:{name}", key, set(known) - OURS)
        if key in arguments:
            raise UsageError(f'"{key}" is given twice in torchvision:{name}?{query}')
        arguments[key] = resolve_path(text, root) if key == "root" else _value(text)
    if "root" in accepted and "root" not in arguments:
        raise UsageError(f"torchvision:{name} needs the folder it lies in", f"write torchvision:{name}?root=PATH")
    if "download" in accepted:
        arguments["download"] = False
    return arguments


def _value(text: str) -> bool | int | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    return int(text) if text.isascii() and text.isdigit() else text


def _classes(dataset: Any, name: str) -> tuple[str, ...]:
    """The names that the data set lists; for one that lists none, the numbers up to its largest label."""
    listed = getattr(dataset, "classes", None)
    if listed:
        return tuple(entry if isinstance(entry, str) else ", ".join(entry) for entry in listed)
    for attribute in ("targets", "labels", "_labels"):
        labels = getattr(dataset, attribute, None)
        if labels is not None and len(labels) == len(dataset):
            return numbered(max(int(label) for label in labels), f"torchvision:{name}")
    labels = [_pair(dataset, position, name)[1] for position in range(len(dataset))]
    return numbered(max(labels, default=0), f"torchvision:{name}")


def _pair(dataset: Any, position: int, name: str) -> tuple[Image.Image, int]:
    try:
        image, label = dataset[position]
        number = int(label)
    except _BROKEN as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"sample {position} of torchvision:{name} is no image with a class: {shown(reason)}") from None
    if not isinstance(image, Image.Image):
        raise UsageError(f"torchvision:{name} gives {type(image).__name__}, not images")
    return image, number


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    (image if image.mode in PNG_MODES else image.convert("RGB")).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
