"""`zoo status`: what is done in workspaces, what is left, and what to do next."""

from typing import Annotated

import typer

from zoo_cli.commands.options import HERE, Json, Workspace
from zoo_cli.commands.plan_options import LabelSets, PlanSeeds, Stages, UnitFormat, Workspaces


def status(
    workspaces: Workspaces = None,
    stage: Stages = None,
    labels: LabelSets = None,
    seed: PlanSeeds = None,
    missing: Annotated[bool, typer.Option("--missing", help="List the units that are left instead.")] = False,
    layout: UnitFormat = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """Show what is done, and what is left.

    Counts the units of work of zoo plan that are done, running (another process has the lease of the run), stale (made
    from other inputs), failed and missing. Without --stage: what comes before training, and the runs that are there.
    How long the rest takes is estimated from finished units of the same stage. --missing lists what zoo plan would, but
    only the units that are stale, failed or missing.

    zoo status
    zoo status T/* --stage extract --stage finetune --seed 0 --seed 1
    zoo status T/* --stage extract --stage finetune --seed 0 --missing --format slurm
    """
    from zoo_cli.commands.stage_flags import parse_stages
    from zoo_cli.commands.status_answer import answer_status
    from zoo_cli.commands.unit_answer import answer_units, check_layout
    from zoo_cli.pipeline.status import check_status

    check_layout(layout, lists_units=missing)
    result = check_status(workspaces or [workspace], parse_stages(stage or (), seed or ()), labels or ())
    form = "json" if json else layout
    if missing:
        answer_units("zoo.plan/1", result.left, form)
    else:
        answer_status(result, form)
