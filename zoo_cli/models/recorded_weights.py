"""The weights of a model compared with those of its first use, by the command that uses it."""

from zoo_cli import ranks, specs
from zoo_cli.config import Config
from zoo_cli.errors import ContractError
from zoo_cli.models.loading import LoadedModel
from zoo_cli.models.torchvision_files import URL_DIGEST
from zoo_cli.store import files, first_weights
from zoo_cli.store.provenance import Stale


def confirm_weights(settings: Config, model: LoadedModel, *, record: bool = True) -> None:
    """Compare the weights of a loaded model with those of its first use, or `record` them if this is it.

    Raises Stale for other weights, ContractError if they are a download of torchvision that is damaged.
    """
    source = model.source if model.declared is None else model.declared
    if not first_weights.are_fixed(settings, source):
        return
    first = first_weights.load_first_sha256(settings, source)
    if first is None:
        if record and ranks.is_first():
            first_weights.write_first_sha256(settings, source, model.weights_sha256)
        return
    if first == model.weights_sha256:
        return
    _check_download(source.model, source.weights)
    name = first_weights.record_name(settings, source)
    spec = name if any(each.name == name for each in settings.models) else source.model
    raise Stale(
        f"the weights of {name} are not those with which it was first used: "
        f"sha256 {first[:12]}… then, {model.weights_sha256[:12]}… now",
        f"restore them, or zoo extract --source {spec} --overwrite takes these",
    )


def _check_download(model: str, weights: str) -> None:
    """Raise ContractError if the weights are a file in the cache of torchvision with another digest than its name."""
    provider, rest = specs.provider("model provider", model)
    if provider != "torchvision":
        return
    from zoo_cli.models import torchvision  # takes as long as importing torch, and most models have no use for it

    file = torchvision.cached_file(rest, weights)
    match = None if file is None or not file.is_file() else URL_DIGEST.search(file.name)
    if file is not None and match is not None and not files.digest(file).startswith(match[1]):
        raise ContractError(
            f"{file} is damaged: its sha256 does not begin with {match[1]}", "remove it to fetch it again"
        )
