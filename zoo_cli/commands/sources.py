"""`zoo sources`: the models of the workspace as a table."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from zoo_cli import console
from zoo_cli.answer_tables import Field, show_answer
from zoo_cli.commands.note_column import add_notes
from zoo_cli.commands.options import HERE, Format, Json, Workspace
from zoo_cli.counts import count_things

FIELDS = (
    Field("source"),
    Field("model"),
    Field("features", style="d"),
    Field("classes", style="d"),
    Field("parameters", style=","),
    Field("input_size", "input", "d"),
    Field("trained_on", free=True),
    Field("stored", free=True),
)


CHECKS: tuple[Field, ...] = (
    Field("source"),
    Field("model"),
    Field("problem", free=True),
    Field("hint", free=True),
)


def sources(
    check: Annotated[
        bool, typer.Option("--check", help="Load each model and try it on two images; exit code 3 if one fails.")
    ] = False,
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """List the models and what is stored of each.

    With --check, each is loaded and run on two images, together and one by one, and a line says what is wrong: it
    cannot be loaded, its outputs have another shape, type or number of classes than declared, are not finite, are
    random, or depend on their batch. Nothing is written.

    zoo sources
    zoo sources --check
    """
    from zoo_cli.pipeline.sources import list_sources

    form = "json" if json else form
    if check:
        _check_models(workspace, form)
        return
    rows = [
        {
            **{column.key: getattr(summary, column.key, None) for column in FIELDS},
            "trained_on": ", ".join(summary.trained_on) or "unknown",
            "excluded": summary.excluded,
            "note": summary.note,
            "stored": ", ".join(f"{data} ({count_things(count, 'part')})" for data, count in summary.parts.items())
            or "nothing yet",
        }
        for summary in list_sources(workspace)
    ]
    excluded = (Field("excluded"),) if any(row["excluded"] for row in rows) else ()
    rows, fields = add_notes(rows, (*FIELDS, *excluded))
    show_answer("zoo.sources/1", rows, fields, form=form)


def _check_models(workspace: Path, form: str | None) -> None:
    from zoo_cli.pipeline.source_check import check_sources, refuse_unsound

    checks = check_sources(workspace)
    rows = [asdict(check) for check in checks]
    table = [{**row, "problem": row["problem"] or "none"} for row in rows]
    fields, notes = CHECKS, list[str]()
    if form == "table" or (form is None and console.current().out.isatty()):
        # Problems stand below, where they are not cut.
        fields = (*CHECKS[:2], Field("state", style=">"))
        table = [{**row, "state": "sound" if row["problem"] is None else "faulty"} for row in rows]
        notes = [f"{each.source}: {each.line}" for each in checks if each.problem is not None]
    show_answer("zoo.sources-check/1", rows, fields, form=form, table=table, notes=notes)
    refuse_unsound(checks)
