"""`zoo sources`: the models of the workspace as a table."""

from zoo_cli import console
from zoo_cli.commands.note_column import add_notes
from zoo_cli.commands.options import HERE, Format, Json, Workspace

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
    """List the models and what is stored of each.

    zoo sources
    """
    from zoo_cli.pipeline.sources import list_sources

    rows = [
        {
            **{column.key: getattr(summary, column.key, None) for column in FIELDS},
            "trained_on": ", ".join(summary.trained_on) or "unknown",
            "excluded": summary.excluded,
            "note": summary.note,
            "stored": ", ".join(f"{data} ({count} parts)" for data, count in summary.parts.items()) or "nothing yet",
        }
        for summary in list_sources(workspace)
    ]
    excluded = (console.Field("excluded"),) if any(row["excluded"] for row in rows) else ()
    rows, fields = add_notes(rows, (*FIELDS, *excluded))
    console.answer("zoo.sources/1", rows, fields, form="json" if json else form)
