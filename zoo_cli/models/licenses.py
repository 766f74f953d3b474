"""The licence of a source, where its provider or its folder says it."""

import re
from pathlib import Path

from zoo_cli import specs
from zoo_cli.config import Source
from zoo_cli.errors import ZooError
from zoo_cli.store import files

CARD = "README.md"
CONFIG = "config.json"


def find_license(source: Source, root: Path) -> str:
    """The licence of a source's weights as its provider or its folder names it; empty where neither does.

    `root`: the folder that paths are relative to.
    """
    provider, rest = specs.provider("model provider", source.model)
    if provider == "file":
        return _in_folder(root / rest.partition("#")[0])
    name, _, tag = rest.partition(".")
    if provider == "timm":
        return _of_timm(rest)
    if provider == "torchvision" and (tag or source.weights):
        return _of_torchvision(name, tag or source.weights)
    return ""


def _in_folder(folder: Path) -> str:
    """What the config.json of a timm folder says, or the first lines of a model card of the Hugging Face hub."""
    try:
        config = files.read_json(folder / CONFIG)
    except (ZooError, OSError):
        config = {}
    settings = config.get("pretrained_cfg") if isinstance(config, dict) else None
    name = settings.get("license") if isinstance(settings, dict) else None
    if isinstance(name, str) and name:
        return name
    try:
        card = (folder / CARD).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    header = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
    line = re.search(r"^license: *(.+)$", header[1], re.MULTILINE) if header else None
    return line[1].strip() if line else ""


def _of_timm(name: str) -> str:
    try:
        from timm.models import get_pretrained_cfg
    except ImportError:
        return ""
    try:
        settings = get_pretrained_cfg(name)
    except RuntimeError:  # an unknown tag
        return ""
    return str(getattr(settings, "license", None) or "")


def _of_torchvision(name: str, tag: str) -> str:
    from torchvision import models

    try:
        weights = models.get_model_weights(name)[tag]
    except (KeyError, ValueError):
        return ""
    return str(weights.meta.get("license", ""))
