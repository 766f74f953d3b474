"""List the models of a workspace, with what is declared and stored of each."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from zoo_cli import config, console
from zoo_cli.config import Config, Source
from zoo_cli.metrics.collapse import COLLAPSED
from zoo_cli.pipeline.leakage import find_leaks
from zoo_cli.store import output_summary, weights_origin
from zoo_cli.store.model_folders import read_training_data
from zoo_cli.store.source_record import has_source_record, load_source_record


@dataclass(frozen=True)
class SourceSummary:
    """A source, or the student; None if a value is neither declared nor stored.

    `features`: width of the embedding; `classes`: number of outputs; `parts`: stored feature files of each data set;
    `note`: untrained, or where its weights come from; collapsed. `excluded`: why it is left out of rankings.
    """

    source: str
    model: str
    features: int | None
    classes: int | None
    parameters: int | None
    input_size: int | None
    trained_on: tuple[str, ...]
    parts: Mapping[str, int]
    note: str = ""
    excluded: str | None = None


def list_sources(workspace: Path) -> tuple[SourceSummary, ...]:
    """The sources of a workspace in the order of its zoo.toml, and the student last."""
    settings = config.load(workspace)
    if not settings.models:
        console.say(f"no source in {workspace / config.FILE} yet")
    excluded = find_leaks(settings, [source.name for source in settings.sources])
    return tuple(_summarize(settings, source, excluded.get(source.name)) for source in settings.models)


def _summarize(settings: Config, source: Source, excluded: str | None) -> SourceSummary:
    folder = settings.features(source.name)
    stored = has_source_record(settings, source.name)
    record = load_source_record(settings, source.name) if stored else None
    declared = len(source.classes) if isinstance(source.classes, tuple) else source.classes
    origin = weights_origin.describe_origin(source.model, source.weights)
    collapsed = COLLAPSED if output_summary.find_collapsed(settings, [source.name]) else ""
    return SourceSummary(
        source=source.name,
        model=source.model,
        features=record.features if record else None,
        classes=record.classes if record else declared,
        parameters=record.parameters if record else None,
        input_size=record.preprocessing.get("input_size", source.input_size) if record else source.input_size,
        trained_on=source.trained_on or read_training_data(source.model, settings.root).all,
        parts=Counter(sorted(path.parent.name.removeprefix("data=") for path in folder.glob("data=*/part-*.parquet"))),
        note=", ".join(filter(None, (origin, collapsed))),
        excluded=excluded,
    )
