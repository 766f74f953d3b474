"""`zoo sources --check`: every model of a workspace loaded and tried, before the first long step."""

from dataclasses import dataclass
from pathlib import Path

from zoo_cli import config, interruption, registry, specs
from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.errors import ContractError, UsageError, ZooError
from zoo_cli.progress import Progress
from zoo_cli.store import feature_files, image_lists, imported_outputs, path_patterns

NETWORK_CHECK = "zoo_cli.models.network_check:check_network"


@dataclass(frozen=True)
class SourceCheck:
    """What is wrong with a source or the student, and what to do about it; None and "" for a sound one."""

    source: str
    model: str
    problem: str | None = None
    hint: str = ""

    @property
    def line(self) -> str:
        """The problem and what to do about it; empty for a sound model."""
        return "; ".join(filter(None, (self.problem, self.hint)))


def check_sources(workspace: Path) -> tuple[SourceCheck, ...]:
    """The check of every model, in the order of zoo.toml, the student last. Nothing is written.

    Raises UsageError for a workspace without a model.
    """
    settings = config.load(workspace)
    if not settings.models:
        raise UsageError(f"no source in {settings.root / config.FILE}", "add a [[source]] table")
    checks = []
    with Progress("check", len(settings.models), "models") as progress:
        for source in settings.models:
            interruption.check()
            checks.append(_check_source(settings, source))
            progress.advance(1)
    return tuple(checks)


def refuse_unsound(checks: tuple[SourceCheck, ...]) -> None:
    """Raise ContractError, naming the models, if any cannot be used as it is declared."""
    names = [check.source for check in checks if check.problem is not None]
    if names:
        raise ContractError(
            f"{len(names)} of {len(checks)} models cannot be used: {', '.join(names)}",
            "fix their tables or their files",
        )


def _check_source(settings: Config, source: Source) -> SourceCheck:
    try:
        lists = image_lists.find_image_lists(settings.root, source.name, source.model, source.trained_images)
        image_lists.find_listed(lists, ())
        if specs.provider("model provider", source.model)[0] == "features" and source.name != STUDENT:
            _check_stored(settings, source)
        else:
            registry.import_target(NETWORK_CHECK)(
                source, settings.root, seed=settings.task.seed, untrained=source.name == STUDENT
            )
    except ZooError as error:
        problem = error.message.removeprefix(f"source {source.name}: ")
        return SourceCheck(source.name, source.model, problem, error.hint)
    return SourceCheck(source.name, source.model)


def _check_stored(settings: Config, source: Source) -> None:
    """Read the first file of outputs that were stored elsewhere."""
    path = settings.root / specs.provider("model provider", source.model)[1]
    if not path_patterns.match_paths(path):
        raise UsageError(f"no stored features at {path}", "correct its path, or leave it out")
    outputs = next(feature_files.load_parts(path, source.output))
    logits = outputs.logits if outputs.logits is not None else outputs.probs
    if outputs.embedding is None and logits is None:
        raise ContractError(f"{path} has no column embedding, logits or probs", "store one of them")
    imported_outputs.check_width(source, logits)
