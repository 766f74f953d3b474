"""Methods or sources by targets: the accuracy of every group of runs on every task, and the gain over a baseline."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo_cli import config, console, specs
from zoo_cli.errors import UsageError
from zoo_cli.evaluation import methods
from zoo_cli.evaluation.methods import LABELS_ONLY, Settings
from zoo_cli.evaluation.ranking_quality import mean_interval
from zoo_cli.evaluation.seed_gains import SeedGain, seed_gain
from zoo_cli.pipeline.evaluate.method_columns import Column, Key, Target, read_column
from zoo_cli.store.class_names import load_class_names
from zoo_cli.store.path_patterns import match_paths

Array = np.ndarray

BY = ("method", "source")
GAINS, ACCURACIES = (-1.0, 1.0), (0.0, 1.0)
"""The ranges of gains and of accuracies."""

Baselines = Mapping[str | None, Key]
"""The baseline of each label set that has one; None: the main one."""


@dataclass(frozen=True)
class MethodTableConfig:
    """`places`: workspaces, folders of them or patterns. `by`: method or source.

    `baseline`: the method that the others are compared with, by its name in the table or by the name of a run of it;
    None: labels only, where there is such a run. Each label set has that method on its own labels as its baseline.
    `across`: settings in which runs of one method may differ, as one that was chosen for each task; of `labels`, label
    sets drawn alike are draws of one.
    """

    places: tuple[Path, ...]
    by: str
    baseline: str | None = None
    across: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cell:
    """One row on one target: the mean accuracy over its seeds, and their standard deviation, None for one seed.

    `runs`: how many it rests on; of each seed, those of several sources count by their mean. `gain`: over the baseline,
    None for the baseline itself and without one. `fewer`: whether another row has more seeds on this target.
    """

    row: str
    target: str
    runs: int
    seeds: tuple[int, ...]
    accuracy: float
    deviation: float | None
    gain: SeedGain | None
    fewer: bool


@dataclass(frozen=True)
class MethodRow:
    """A row: its mean accuracy over targets, and its mean gain with the 90 % interval over targets, None for one.

    `targets`: how many have it; `compared`: how many of these have the baseline too. `parameters`, `macs`: the mean of
    its students, None if a run does not record them.
    """

    name: str
    settings: Settings
    targets: int
    accuracy: float
    compared: int
    gain: float | None
    gain_low: float | None
    gain_high: float | None
    parameters: float | None
    macs: float | None


@dataclass(frozen=True)
class MethodTable:
    """`rows`: the baseline first, then by mean accuracy; `shared`: settings that all of them share.

    `baseline`: its name; of several label sets, all of them.
    """

    by: str
    baseline: str | None
    targets: tuple[Target, ...]
    rows: tuple[MethodRow, ...]
    cells: tuple[Cell, ...]
    shared: Settings


def check_by(by: str | None, baseline: str | None, across: Sequence[str] = ()) -> None:
    """Raise UsageError for an unknown grouping, and for a baseline or settings to average over without one."""
    if by is None and baseline is not None:
        raise UsageError("--baseline belongs to --by", "without it, all runs are compared with the first")
    if by is None and across:
        raise UsageError("--across belongs to --by", "without it, every run has a row of its own")
    if by is not None and by not in BY:
        raise UsageError(f'--by is "{by}"', f"one of: {', '.join(BY)}")


def tabulate_methods(options: MethodTableConfig) -> MethodTable:
    """The accuracies of the finished runs of workspaces, grouped by what they were asked to do.

    Raises UsageError if there is no workspace with finished runs, for an unknown baseline, and for two tasks of one
    name with other classes; ContractError for runs of one workspace that predict other test images.
    """
    workspaces = _find_workspaces(options.places)
    columns = [
        read_column(name, workspace, options.by, options.across)
        for workspace, name in _name_targets(workspaces).items()
    ]
    _check_across(options.across, columns)
    keys = list(dict.fromkeys(key for column in columns for key in column.groups))
    names = dict(zip(keys, methods.name_methods([(objective, dict(rest)) for objective, rest in keys]), strict=True))
    baselines = _find_baselines(options.baseline, columns, names)
    _warn_of_missing_baselines(columns, names, baselines)
    cells = {(key, column.target.name): _make_cell(key, column, names, baselines) for key in keys for column in columns}
    rows = {key: _make_row(key, names[key], columns, cells) for key in keys}
    first = list(baselines.values())
    ordered = sorted(keys, key=lambda key: (key not in first, -rows[key].accuracy, names[key]))
    return MethodTable(
        options.by,
        " and ".join(names[key] for key in first) or None,
        tuple(column.target for column in columns),
        tuple(rows[key] for key in ordered),
        tuple(cell for key in ordered for column in columns if (cell := cells[key, column.target.name]) is not None),
        methods.shared_settings([(objective, dict(rest)) for objective, rest in keys]),
    )


def _check_across(across: Sequence[str], columns: Sequence[Column]) -> None:
    """Raise UsageError for a setting that no run has."""
    known = {
        key for column in columns for group in column.groups.values() for run in group.runs for key in run.settings
    }
    for name in across:
        if name not in known:
            raise specs.nearest("setting", name, known)


def _find_workspaces(places: Sequence[Path]) -> list[Path]:
    """The workspaces at paths and patterns, each once; a folder without runs is a folder of workspaces."""
    by_place: dict[Path, Path] = {}
    for place in places:
        matches = match_paths(place)
        workspaces = [
            workspace
            for match in matches
            for workspace in ([match] if (match / "runs").is_dir() else sorted(p.parent for p in match.glob("*/runs")))
        ]
        if not workspaces:
            raise UsageError(f"no workspace with runs in {place}", "name folders with a zoo.toml, after zoo distill")
        by_place |= {workspace.resolve(): workspace for workspace in workspaces}
    return list(by_place.values())


def _name_targets(workspaces: Sequence[Path]) -> dict[Path, str]:
    """The name of each column: the task's, or the workspace's path where several have a task of one name.

    Raises UsageError for two workspaces of one task with other classes.
    """
    tasks = {workspace: _task_name(workspace) for workspace in workspaces}
    for name in set(tasks.values()):
        same = [workspace for workspace, task in tasks.items() if task == name]
        classes = [_class_names(workspace) for workspace in same]
        other = next((workspace for workspace, each in zip(same, classes, strict=True) if each != classes[0]), None)
        if other is not None:
            raise UsageError(
                f"{same[0]} and {other} both have the task {name}, with other classes", "rename one in its zoo.toml"
            )
    single = {name for name in tasks.values() if list(tasks.values()).count(name) == 1}
    return {workspace: name if name in single else str(workspace) for workspace, name in tasks.items()}


def _task_name(workspace: Path) -> str:
    if (workspace / config.FILE).exists():
        return config.load(workspace).task.name
    return workspace.resolve().name


def _class_names(workspace: Path) -> object:
    return load_class_names(workspace / "classes.json") if (workspace / "classes.json").exists() else None


def _label_set(key: Key) -> str | None:
    return dict(key[1]).get(methods.LABELS)


def _find_baselines(text: str | None, columns: Sequence[Column], names: Mapping[Key, str]) -> Baselines:
    """The baseline of each label set. Raises UsageError for one that no workspace has."""
    label_sets = list(dict.fromkeys(map(_label_set, names)))
    if text is None:
        only_labels = {labels: _find_labels_only(names, labels) for labels in label_sets}
        if not any(only_labels.values()):
            console.say("no run of labels only: no gains; --baseline names another method to compare with")
        return {labels: key for labels, key in only_labels.items() if key is not None}
    by_name = {name: key for key, name in names.items()}
    by_run = {run.path.name: key for column in columns for key, group in column.groups.items() for run in group.runs}
    named = by_name.get(text) or by_run.get(text.removeprefix("runs/"))
    if named is None:
        raise specs.nearest("method or run", text, sorted(by_name))
    return {_label_set(key): key for key in names if _without_labels(key) == _without_labels(named)}


def _find_labels_only(names: Mapping[Key, str], labels: str | None) -> Key | None:
    """The method of labels only of a label set. Raises UsageError for several."""
    own = [key for key in names if key[0] == LABELS_ONLY and _label_set(key) == labels]
    plain = [key for key in own if names[key] in (LABELS_ONLY, f"{LABELS_ONLY} {methods.LABELS}={labels}")]
    if own and not plain:
        listed = ", ".join(sorted(names[key] for key in own))
        raise UsageError(f"several methods are labels only: {listed}", "name one with --baseline")
    return plain[0] if plain else None


def _without_labels(key: Key) -> Key:
    return key[0], tuple(setting for setting in key[1] if setting[0] != methods.LABELS)


def _warn_of_missing_baselines(columns: Sequence[Column], names: Mapping[Key, str], baselines: Baselines) -> None:
    missing: dict[str, None] = {}
    for labels in dict.fromkeys(map(_label_set, names)) if baselines else ():
        for column in columns:
            if labels in map(_label_set, column.groups) and baselines.get(labels) not in column.groups:
                missing[column.target.name + (f" ({labels})" if labels else "")] = None
    if missing:
        console.warn(f"no run of the baseline for {', '.join(missing)}: no gains there")


def _make_cell(key: Key, column: Column, names: Mapping[Key, str], baselines: Baselines) -> Cell | None:
    group = column.groups.get(key)
    if group is None:
        return None
    accuracies = [float(right.mean()) for right in group.right.values()]
    baseline = baselines.get(_label_set(key), key)
    base = None if key == baseline else column.groups.get(baseline)
    most = max(len(other.right) for other in column.groups.values())
    return Cell(
        names[key],
        column.target.name,
        len(group.runs),
        tuple(seed for _, seed in group.right),
        math.fsum(accuracies) / len(accuracies),
        float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None,
        None if base is None else seed_gain(group.right, base.right),
        fewer=len(group.right) < most,
    )


def _make_row(
    key: Key, name: str, columns: Sequence[Column], cells: Mapping[tuple[Key, str], Cell | None]
) -> MethodRow:
    own = [cell for column in columns if (cell := cells[key, column.target.name]) is not None]
    gains = np.array([cell.gain.gain for cell in own if cell.gain is not None])
    gain, low, high = mean_interval(gains, GAINS)
    runs = [run for column in columns if key in column.groups for run in column.groups[key].runs]
    return MethodRow(
        name,
        dict(key[1]),
        len(own),
        math.fsum(cell.accuracy for cell in own) / len(own),
        len(gains),
        gain,
        low,
        high,
        _mean_size([run.parameters for run in runs]),
        _mean_size([run.macs for run in runs]),
    )


def _mean_size(sizes: Sequence[int | None]) -> float | None:
    known = [size for size in sizes if size is not None]
    return sum(known) / len(known) if known and len(known) == len(sizes) else None
