"""Units of work as an answer: a table, bare command lines, or a script for Slurm."""

from collections.abc import Sequence

from zoo_cli import console
from zoo_cli.answer_tables import Field, Grid, check_format, show_answer
from zoo_cli.commands.slurm_script import render_slurm
from zoo_cli.errors import UsageError
from zoo_cli.pipeline.work_units import Unit

SCRIPTS = ("sh", "slurm")
"""The formats that only a list of units has."""
FIELDS = (
    Field("stage"),
    Field("workspace"),
    Field("labels"),
    Field("item"),
    Field("seed", style="d"),
    Field("command"),
)


def check_layout(layout: str | None, *, lists_units: bool = True) -> None:
    """Raise UsageError for an unknown format, before any work."""
    if layout in SCRIPTS and not lists_units:
        raise UsageError(f"--format {layout} is for a list of units", "add --missing")
    if layout not in SCRIPTS:
        check_format(layout)


def answer_units(schema: str, units: Sequence[Unit], layout: str | None) -> None:
    """Print units of work, each with its command."""
    if layout == "sh":
        console.current().answer("".join(f"{unit.command}\n" for unit in units))
    elif layout == "slurm":
        console.current().answer(render_slurm(units))
    else:
        rows = [
            {
                "stage": unit.stage.title,
                "workspace": str(unit.settings.root),
                "labels": unit.settings.labels,
                "item": unit.item,
                "seed": unit.seed,
                "path": str(unit.path),
                "command": unit.command,
            }
            for unit in units
        ]
        # A command is too long for a terminal: --format sh prints them whole.
        shown = FIELDS if layout == "md" else FIELDS[:-1]
        show_answer(schema, rows, FIELDS, form=layout, grids=[Grid("units", rows, shown, 4)])
