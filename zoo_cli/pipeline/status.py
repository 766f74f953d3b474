"""`zoo status`: what is done of the units of a plan, what is left, and about how long that takes."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from zoo_cli.pipeline import unit_states, work_units
from zoo_cli.pipeline.plan_stages import Stage, default_stages
from zoo_cli.pipeline.unit_states import DONE, LEFT, RUNNING, STATES, UnitState
from zoo_cli.pipeline.work_units import Unit
from zoo_cli.store.checksums import is_finished
from zoo_cli.training.run_record import read_log

STORED = Stage("runs")
"""The runs that are there, where no stage asks for any."""


@dataclass(frozen=True)
class StageStatus:
    """How many units of a stage in one workspace and label set are in each state; `rest`: seconds, None if unknown."""

    stage: str
    workspace: str
    labels: str | None
    counts: dict[str, int]
    rest: float | None


@dataclass(frozen=True)
class Status:
    """The states of units, and their counts. `rest`: the seconds that all that is left takes one after another.

    `unknown`: the stages of which no finished unit says how long it took. `next_command`: where there is one workspace.
    """

    states: tuple[UnitState, ...]
    rows: tuple[StageStatus, ...]
    rest: float | None
    unknown: tuple[str, ...] = ()
    next_command: str = field(default="")

    @property
    def left(self) -> list[Unit]:
        """The units that are left to do."""
        return [each.unit for each in self.states if each.state in LEFT]


def check_status(workspaces: Sequence[Path], stages: Sequence[Stage] = (), labels: Sequence[str] = ()) -> Status:
    """The status of the stages of workspaces; by default of what comes before training, and of the runs that are there.

    Raises UsageError as `work_units.list_units` does.
    """
    units = work_units.list_units(stages or default_stages(), workspaces, labels)
    if not stages:
        units += [unit for workspace in workspaces for unit in _list_stored_runs(units, workspace)]
    states = unit_states.check_units(units)
    means = _mean_seconds(states)
    groups: dict[tuple[str, str, str | None], list[UnitState]] = {}
    for each in states:
        settings = each.unit.settings
        groups.setdefault((each.unit.stage.title, str(settings.root), settings.labels), []).append(each)
    rows = tuple(
        StageStatus(*key, {name: sum(each.state == name for each in group) for name in STATES}, _rest(group, means))
        for key, group in groups.items()
    )
    rests = [row.rest for row in rows if row.rest is not None]
    unknown = dict.fromkeys(row.stage for row in rows if row.rest is None)
    following = _next_command(states) if len(workspaces) == 1 and not stages else ""
    return Status(tuple(states), rows, sum(rests) if any(rests) else None, tuple(unknown), following)


def _mean_seconds(states: Sequence[UnitState]) -> dict[str, float]:
    """The mean seconds of the finished units of each stage that say how long they took."""
    seconds: dict[str, list[float]] = {}
    for each in states:
        if each.state == DONE and each.seconds is not None:
            seconds.setdefault(each.unit.stage.title, []).append(each.seconds)
    return {title: sum(values) / len(values) for title, values in seconds.items()}


def _rest(group: Sequence[UnitState], means: dict[str, float]) -> float | None:
    """The seconds that the units of a stage will take that are not done; a running one counts as half done."""
    weight = sum(1.0 if each.state in LEFT else 0.5 if each.state == RUNNING else 0.0 for each in group)
    mean = means.get(group[0].unit.stage.title)
    return 0.0 if not weight else None if mean is None else weight * mean


def _list_stored_runs(units: Sequence[Unit], workspace: Path) -> list[Unit]:
    """The runs in a workspace that a command has begun, by the commands in their logs."""
    settings = next(unit.settings.with_labels(None) for unit in units if unit.settings.root == workspace)
    stored = []
    for folder in sorted(settings.run("x").parent.glob("[!.]*/")):
        command = read_log(folder).get("command")
        # One that Python code made has no command; while it is not finished, only that code can go on with it.
        if isinstance(command, str) or is_finished(folder):
            typed = command if isinstance(command, str) else f"zoo show {shlex.quote(folder.name)}"
            stored.append(Unit(STORED, settings, folder.name, folder, stored_command=typed))
    return stored


def _next_command(states: Sequence[UnitState]) -> str:
    """What to type next in a workspace."""
    for each in states:
        if each.state in LEFT and each.unit.stage is not STORED:
            return f"zoo {each.unit.stage.title}"
    settings = states[0].unit.settings
    if not settings.ranking.exists():
        return "zoo rank"
    runs = [each for each in states if each.unit.stage is STORED]
    unfinished = [each.unit.stored_command for each in runs if each.state in LEFT]
    if unfinished:
        return unfinished[0]
    return "zoo evaluate accuracy" if any(each.state == DONE for each in runs) else "zoo distill"
