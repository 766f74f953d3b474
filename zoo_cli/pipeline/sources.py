"""`zoo sources`: the models of the workspace, and what is stored of each."""

from typing import Any

from zoo_cli import config, console
from zoo_cli.commands.options import HERE, Format, Json, Workspace
from zoo_cli.config import Config, Source
from zoo_cli.store.source_record import has_source_record, load_source_record

FIELDS = (
    console.Field("source"),
    console.Field("model"),
    console.Field("features", style="d"),
    console.Field("classes", style="d"),
    console.Field("parameters", style=","),
    console.Field("input_size", "input", "d"),
    console.Field("trained_on"),
    console.Field("stored"),
)


def sources(form: Format = None, json: Json = False, workspace: Workspace = HERE) -> None:
    """List the sources and the student, with what is known and stored of each.

    zoo sources
    """
    settings = config.load(workspace)
    rows = [_row(settings, source) for source in settings.models]
    if not rows:
        console.say(f"no source in {workspace / config.FILE} yet")
    console.answer("zoo.sources/1", rows, FIELDS, form="json" if json else form)


def _row(settings: Config, source: Source) -> dict[str, Any]:
    folder = settings.features(source.name)
    said: dict[str, Any] = (
        dict(load_source_record(settings, source.name).content) if has_source_record(settings, source.name) else {}
    )
    preprocessing = said.get("preprocessing") or {}
    declared = len(source.classes) if isinstance(source.classes, tuple) else source.classes
    parts = sorted(path.parent.name.removeprefix("data=") for path in folder.glob("data=*/part-*.parquet"))
    stored = ", ".join(f"{part} ({parts.count(part)} parts)" for part in dict.fromkeys(parts))
    return {
        "source": source.name,
        "model": source.model,
        "features": said.get("features"),
        "classes": said.get("classes", declared),
        "parameters": said.get("parameters"),
        "input_size": preprocessing.get("input_size", source.input_size),
        "trained_on": ", ".join(source.trained_on) or "unknown",
        "stored": stored or "nothing yet",
    }
