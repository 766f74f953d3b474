"""The columns of a table of methods: the finished runs of a workspace, grouped by what they were asked to do."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np

from zoo_cli.errors import ContractError, UsageError
from zoo_cli.evaluation import flip_statistics, methods, named_runs, predictions
from zoo_cli.evaluation.methods import LABELS, LABELS_ONLY, MethodRun
from zoo_cli.evaluation.predictions import Predictions
from zoo_cli.label_sets import load_config
from zoo_cli.store import parquet_files

Array = np.ndarray

Key = tuple[str, tuple[tuple[str, str], ...]]
"""The objective and the settings of a row, hashable."""
Replicate = tuple[str, int]
"""A label set, if runs of several are one method, and a seed."""


@dataclass(frozen=True)
class Target:
    """A column: a task, its workspace, and its number of test images."""

    name: str
    workspace: Path
    n: int


@dataclass(frozen=True)
class Group:
    """The runs of one row on one target: how right (N,) each replicate is, the mean over the members of the row."""

    right: Mapping[Replicate, Array]
    runs: tuple[MethodRun, ...]


@dataclass(frozen=True)
class Column:
    """One task: the runs of its workspace by row."""

    target: Target
    groups: Mapping[Key, Group]


def read_column(name: str, workspace: Path, by: str, across: Collection[str]) -> Column:
    """The groups of a workspace, all on the same test images. `by`: method or source.

    `across`: settings in which runs of a row may differ; of `labels`, label sets of as many labels are draws of one.
    """
    folders = [Path(run) for run in named_runs.finished_runs(workspace)]
    runs: dict[Key, dict[Replicate, list[tuple[MethodRun, Array]]]] = {}
    reference: Predictions | None = None
    describe_draw = cache(partial(_describe_draw, workspace))
    for folder in folders:
        run = methods.read_method_run(folder)
        stored = predictions.load_predictions(folder)
        reference = reference or stored
        right = np.asarray(flip_statistics.predicted_classes(_align(stored, reference)) == reference.labels)
        draw, merged = "", run
        if LABELS in across:
            draw = run.settings.get(LABELS, "")
            merged = replace(run, settings={**run.settings, LABELS: describe_draw(draw or None)})
        key = _row_key(merged, by, across)
        if key is not None:
            runs.setdefault(key, {}).setdefault((draw, run.seed), []).append((run, right))
    if reference is None or not runs:
        raise UsageError(f"no finished run in {workspace / 'runs'}", "zoo distill makes one")
    groups = {key: _make_group(replicates) for key, replicates in runs.items()}
    return Column(Target(name, workspace, len(reference.ids)), groups)


def _describe_draw(workspace: Path, labels: str | None) -> str:
    """How many labels a label set was asked to have: "5/class". None: the main one."""
    header = parquet_files.read_header(load_config(workspace, labels).manifest)
    return str(header.get("inputs", {}).get("labelled", labels))


def _align(stored: Predictions, reference: Predictions) -> Array:
    try:
        return stored.align_logits(reference)
    except ContractError as error:
        raise ContractError(error.message, "make the older one again with --overwrite, or move it away") from None


def _row_key(run: MethodRun, by: str, across: Collection[str]) -> Key | None:
    """The row of a run; None for a run of several sources in a table of sources."""
    settings = dict(run.settings)
    if by == "source" and not run.is_source and run.objective != LABELS_ONLY:
        return None
    if by == "method" and run.is_source:
        settings["source"] = methods.EACH
    return run.objective, tuple(item for item in settings.items() if item[0] == LABELS or item[0] not in across)


def _make_group(replicates: Mapping[Replicate, Sequence[tuple[MethodRun, Array]]]) -> Group:
    """The runs of a row on one target.

    Raises ContractError if two of them are the same, or if one learned from other labels than others of its label set.
    """
    labelled: dict[str, MethodRun] = {}
    for (draw, _), each in replicates.items():
        members = [run.member for run, _ in each]
        if len(set(members)) < len(members):
            first, second = [run for run, _ in each if members.count(run.member) > 1][:2]
            raise ContractError(
                f"{first.path} and {second.path} were asked the same and have the same seed",
                "move one of them away: it was made from other inputs, or differs in what --across names alone",
            )
        for run, _ in each:
            if run.labelled != (first := labelled.setdefault(draw, run)).labelled:
                raise ContractError(
                    f"{first.path} and {run.path} were asked the same and learned from other labels",
                    "make the older one again with --overwrite, or move it away",
                )
    ordered = sorted(replicates.items())
    runs = tuple(run for _, each in ordered for run, _ in each)
    return Group({replicate: np.mean([right for _, right in each], axis=0) for replicate, each in ordered}, runs)
