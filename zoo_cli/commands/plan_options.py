"""The flags of `zoo plan` and `zoo status`."""

from pathlib import Path
from typing import Annotated

import typer

Workspaces = Annotated[list[Path] | None, typer.Argument(metavar="DIR", help="Workspaces. [default: that of -C]")]
Stages = Annotated[
    list[str] | None,
    typer.Option(
        "--stage",
        metavar="COMMAND",
        help="split, extract, score, pseudo-label, distill, finetune or tune, with its flags: "
        '"distill --lam 1". Repeatable, in order.',
    ),
]
LabelSets = Annotated[
    list[str] | None,
    typer.Option("--labels", metavar="NAME", help="A label set. Repeatable. [default: the main one]"),
]
PlanSeeds = Annotated[
    list[int] | None,
    typer.Option("--seed", metavar="N", help="Seed of each training stage that names none. Repeatable."),
]
UnitFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="NAME",
        help="table, json, csv, tsv or md; for a list of units also sh or slurm. [default: table on a terminal, "
        "tsv in a pipe]",
        rich_help_panel="Output",
    ),
]
