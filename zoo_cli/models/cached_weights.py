"""Whether the weights that a source names are on this machine, so that it loads without a network."""

from pathlib import Path

from zoo_cli import specs
from zoo_cli.config import Source
from zoo_cli.models import clip, timm, torchvision
from zoo_cli.models.weights import is_file_name
from zoo_cli.store import weights_origin


def find_missing(source: Source, root: Path) -> str | None:
    """What a source would fetch from the network; None for one that needs nothing of it.

    Raises UsageError for unknown names, and where the library of its provider cannot be imported.
    """
    provider, rest = specs.provider("model provider", source.model)
    name, _, tag = rest.partition(".")
    named = "" if source.weights == weights_origin.RANDOM else source.weights
    if provider not in weights_origin.NAMED or not (tag or named) or (not tag and is_file_name(named, root)):
        return None
    if provider == "torchvision":
        file = torchvision.cached_file(rest, named)
        return None if file is None or file.is_file() else str(file)
    if provider == "clip":
        return clip.find_uncached(rest, named)
    return timm.find_uncached(name, tag or ("" if named == "pretrained" else named))
