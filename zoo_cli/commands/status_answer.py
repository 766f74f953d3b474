"""The answer of `zoo status`: counts a stage, how long the rest takes, and what went wrong."""

from typing import Any

from zoo_cli.answer_tables import Field, Grid, show_answer
from zoo_cli.pipeline.status import Status
from zoo_cli.pipeline.unit_states import FAILED, RUNNING, STALE, STATES, UnitState
from zoo_cli.quantities import duration

FIELDS = (
    Field("stage"),
    Field("workspace"),
    Field("labels"),
    *(Field(state, style="d") for state in STATES),
    Field("rest"),
)
SHOWN = 5
"""The number of units of a state that are explained."""


def answer_status(status: Status, form: str | None) -> None:
    """Print the counts, and below them the rest and what stands out."""
    rows: list[dict[str, Any]] = [
        {"stage": row.stage, "workspace": row.workspace, "labels": row.labels, **row.counts, "rest": row.rest}
        for row in status.rows
    ]
    table = [{**row, "rest": duration(row["rest"]) if row["rest"] else None} for row in rows]
    fields = [field for field in FIELDS if field.key not in ("labels", "rest") or any(row[field.key] for row in rows)]
    meta = {
        "rest": status.rest,
        "next": status.next_command or None,
        "units": [_describe(each) for each in status.states],
    }
    keys = next(position for position, field in enumerate(fields) if field.key == STATES[0])
    # On a terminal only what there is.
    rare = (RUNNING, STALE, FAILED)
    shown = [field for field in fields if field.key not in rare or any(row[field.key] for row in rows)]
    grids = [Grid("units of each stage", table, shown, keys)]
    show_answer("zoo.status/1", rows, fields, form=form, meta=meta, notes=_notes(status), grids=grids)


def _describe(state: UnitState) -> dict[str, object]:
    unit = state.unit
    return {
        "stage": unit.stage.title,
        "workspace": str(unit.settings.root),
        "labels": unit.settings.labels,
        "item": unit.item,
        "seed": unit.seed,
        "path": str(unit.path),
        "state": state.state,
        "detail": state.detail,
        "command": unit.command,
    }


def _notes(status: Status) -> list[str]:
    """What runs, is stale or has failed, how long the rest takes, and the next command."""
    lines = []
    for name in (RUNNING, STALE, FAILED):
        explained = [each for each in status.states if each.state == name]
        lines += [f"{name}: {each.unit.path}: {each.detail}" for each in explained[:SHOWN]]
        if len(explained) > SHOWN:
            lines.append(f"{name}: {len(explained) - SHOWN} more, see --json")
    if any(each.state == STALE for each in status.states):
        lines.append("stale units need --refresh or --overwrite: their commands end with exit code 2")
    if status.rest:
        without = f", without {', '.join(status.unknown)}" if status.unknown else ""
        lines.append(f"the rest takes about {duration(status.rest)} in one process{without}")
    if status.next_command:
        lines.append(f"next: {status.next_command}")
    return lines
