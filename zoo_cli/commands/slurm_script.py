"""A script that submits units of work as arrays of Slurm, each stage after those whose output it reads."""

from collections.abc import Sequence

from zoo_cli.pipeline.plan_stages import Stage
from zoo_cli.pipeline.work_units import Unit

MOST_TASKS = 1000
"""The tasks of one array: Slurm's default for MaxArraySize allows 1,001."""
HEAD = """\
#!/bin/bash
# Submits {count:,} units of work as {arrays} arrays of Slurm. Its arguments are options of sbatch, for all of them:
#   bash plan.sh --gres=gpu:1 --time=4:00:00
set -e
options=("$@")

submit() {{ # VARIABLE OPTION...: submits the script on stdin; its job goes to the variable
  local job
  job=$(sbatch --parsable --requeue --open-mode=append --kill-on-invalid-dep=yes "${{options[@]}}" "${{@:2}}") || exit
  printf -v "$1" %s "${{job%%;*}}"
}}
"""
ARRAY = """
submit {variable} --job-name={name} --array=0-{last}{dependency} <<'SCRIPT'
#!/bin/bash
mapfile -t commands <<'COMMANDS'
{commands}
COMMANDS
eval "srun ${{commands[SLURM_ARRAY_TASK_ID]}}"
code=$?
# 75: stopped at --max-time with a checkpoint. Slurm requeues after a failure of a node alone.
[ $code -ne 75 ] || scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"
exit $code
SCRIPT
"""


def render_slurm(units: Sequence[Unit]) -> str:
    """The script, for bash. A stage of more than MOST_TASKS units is several arrays."""
    stages = list(dict.fromkeys(unit.stage for unit in units))
    variables: dict[Stage, list[str]] = {}
    parts: list[str] = []
    for number, stage in enumerate(stages):
        commands = [unit.command for unit in units if unit.stage == stage]
        needed = [variable for other in stage.waits_for(stages[:number]) for variable in variables[other]]
        dependency = f' --dependency="afterok:{":".join(f"${{{name}}}" for name in needed)}"' if needed else ""
        variables[stage] = []
        for start in range(0, len(commands), MOST_TASKS):
            tasks = commands[start : start + MOST_TASKS]
            variable = f"array_{len(parts) + 1}"
            variables[stage].append(variable)
            parts.append(
                ARRAY.format(
                    variable=variable,
                    name=f"zoo-{stage.command}",
                    last=len(tasks) - 1,
                    dependency=dependency,
                    commands="\n".join(tasks),
                )
            )
    return HEAD.format(count=len(units), arrays=len(parts)) + "".join(parts)
