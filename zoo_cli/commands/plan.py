"""`zoo plan`: the units of work of stages in workspaces, a command line each."""

from zoo_cli.commands.options import HERE, Json, Workspace
from zoo_cli.commands.plan_options import LabelSets, PlanSeeds, Stages, UnitFormat, Workspaces
from zoo_cli.errors import UsageError


def plan(
    workspaces: Workspaces = None,
    stage: Stages = None,
    labels: LabelSets = None,
    seed: PlanSeeds = None,
    layout: UnitFormat = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """List the units of work of a campaign.

    A unit is one command: of a workspace, a source or a way to train, a label set and a seed. Sources that have seen a
    task have none in it. Units may run in any order, beside one another, and again after a kill. With --format sh only
    the commands are printed; --format slurm is a script that submits them as arrays.

    zoo plan T/* --stage extract --stage score --stage "distill --lam 1" --seed 0 --seed 1
    zoo plan T/* --stage finetune --seed 0 --format sh | tr '\\n' '\\0' | xargs -0 -P4 -I{} sh -c '{} || exit 1'
    zoo plan T/* --stage extract --stage "finetune --max-time 50m" --format slurm > plan.sh
    """
    from zoo_cli.commands.stage_flags import parse_stages
    from zoo_cli.commands.unit_answer import answer_units, check_layout
    from zoo_cli.pipeline.work_units import list_units

    check_layout(layout)
    if not stage:
        raise UsageError("no stage to plan", "name one: --stage extract, or --stage 'distill --lam 1'")
    units = list_units(parse_stages(stage, seed or ()), workspaces or [workspace], labels or ())
    answer_units("zoo.plan/1", units, "json" if json else layout)
