"""`zoo evaluate overlap`: the test images that sources and runs were trained on."""

from dataclasses import dataclass
from pathlib import Path

from zoo_cli import config
from zoo_cli.config import Config, Source
from zoo_cli.errors import UsageError
from zoo_cli.evaluation import named_runs
from zoo_cli.pipeline import image_overlap, prepare
from zoo_cli.pipeline.image_overlap import Overlap


@dataclass(frozen=True)
class OverlapConfig:
    """`models`: sources, model specs or run folders; without any, the models of zoo.toml."""

    workspace: Path
    models: tuple[str, ...] = ()


def evaluate_overlap(options: OverlapConfig) -> tuple[Overlap, ...]:
    """The overlap of each model's training images with the task's test images. A missing manifest is made first."""
    settings = config.load(options.workspace)
    sources = [_find_model(settings, text) for text in options.models] or list(settings.models)
    if not sources:
        raise UsageError(f"no source in {settings.root / config.FILE}", "add a [[source]] table, or name a run")
    prepare.prepare(settings)
    return image_overlap.count_overlaps(settings, sources)


def _find_model(settings: Config, text: str) -> Source:
    """A run folder as typed or by name, or a source."""
    folder = named_runs.resolve_run(Path(text), settings.root)
    if text not in {source.name for source in settings.models} and folder.is_dir():
        return Source(named_runs.display_name(text, settings.root), f"file:{folder.resolve()}")
    (source,) = settings.select([text])
    return source
