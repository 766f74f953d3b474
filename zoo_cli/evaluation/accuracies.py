"""Accuracies that transfer reached: of finished runs that learned from one source, or of a table, see `tables`.

A table has the column `accuracy`, or `Oracle` as the PARC benchmark calls it, in any unit. A missing or negative
accuracy, as that benchmark writes it, is unknown. Several seeds of one source count by their mean.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo_cli import config, console
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.evaluation import flip_statistics, predictions, tables
from zoo_cli.store.checksums import is_finished
from zoo_cli.store.path_patterns import match_paths
from zoo_cli.store.swap import run_place
from zoo_cli.training.run_record import RunRecord, load_run_record

DIGITS = 12  # means of seeds that differ only by rounding are equal
PER_RUN_OPTIONS = ("seed", "lr")
"""Options that runs of one comparison need not share: a sweep chooses the learning rate for each source."""

Accuracies = dict[str, dict[str, float]]
"""By target and source; the target "" has no name."""


@dataclass(frozen=True)
class Accuracy:
    """The accuracy of one run, or of one row of a table."""

    target: str
    source: str
    value: float


def load_accuracies(path: Path, labels: str | None = None) -> Accuracies:
    """The accuracies at a path: a table, a workspace, a folder of runs or of workspaces, or a pattern of run folders.

    `labels`: the label set whose runs count; None: the main one. Raises UsageError if there are none, or if the runs of
    one target were trained with different options.
    """
    if path.is_file():
        return _average(_read_table(tables.load_table(path)))
    runs = [run for folder in match_paths(path) for run in _find_runs(folder)]
    if not runs:
        raise UsageError(f"no runs in {path}", "zoo distill --each-source makes them; or give a table of accuracies")
    return _average(_read_runs(path, runs, labels))


def _read_table(table: tables.Table) -> list[Accuracy]:
    column = table.find("accuracy", "oracle")
    if column is None:
        raise ContractError(f"{table.path} has no column accuracy", f"its columns: {', '.join(table.columns)}")
    values = table.numbers("accuracy", column)
    keys = list(zip(table.targets(), table.sources(), strict=True))
    ((target, source), _), count = Counter(zip(keys, table.repetitions(), strict=True)).most_common(1)[0]
    if count > 1:
        raise ContractError(
            f"{table.path}: the accuracy of {source}{f' for {target}' if target else ''} occurs {count} times",
            "tell repetitions apart by a column seed",
        )
    unknown = sum(not value >= 0 for value in values)
    if unknown:
        console.warn(f"{table.path}: {unknown:,} missing or negative accuracies are left out")
    return [Accuracy(*key, value) for key, value in zip(keys, values, strict=True) if value >= 0]


def _find_runs(folder: Path) -> list[Path]:
    """The run folders of a run, a folder of runs, a workspace or a folder of workspaces."""
    for pattern in ("run.json", "*/run.json", "runs/*/run.json", "*/runs/*/run.json"):
        runs = sorted(path.parent for path in folder.glob(pattern) if run_place(path.parent) == path.parent)
        if runs:
            return runs
    return []


def _read_runs(path: Path, runs: Sequence[Path], labels: str | None) -> list[Accuracy]:
    accuracies: list[Accuracy] = []
    first: dict[str, tuple[Path, dict[str, Any]]] = {}
    others = unfinished = elsewhere = 0
    for run in runs:
        record = load_run_record(run / "run.json")
        source, shared = _single_source(record), _shared_options(record)
        if (record.asked or {}).get("labels") != labels:
            elsewhere += 1
        elif source is None:
            others += 1
        elif not is_finished(run):
            unfinished += 1
        else:
            target = _target_name(run, record)
            before, expected = first.setdefault(target, (run, shared))
            changed = sorted(key for key in {**expected, **shared} if expected.get(key) != shared.get(key))
            if changed:
                raise UsageError(
                    f"{before} and {run} differ in {', '.join(changed)}: their accuracies cannot be compared",
                    'name runs of one kind by a pattern, as in "runs/finetune-*"',
                )
            accuracies.append(Accuracy(target, source, _accuracy(run)))
    if elsewhere:
        console.say(f"{path}: {elsewhere:,} runs of other label sets are left out")
    if unfinished:
        console.warn(f"{path}: {unfinished:,} runs are not finished and left out")
    if others:
        console.say(f"{path}: {others:,} runs that learned from no source, or from several, are left out")
    if not accuracies:
        raise UsageError(
            f"no finished run in {path} learned from one source", "zoo distill --each-source makes one of each source"
        )
    return accuracies


def _single_source(record: RunRecord) -> str | None:
    """The one source that a run learned from: the only one with a weight, or the one that was fine-tuned."""
    if record.source is not None:
        return record.source
    weighted = [row.source for row in record.weights if row.weight > 0]
    return weighted[0] if len(weighted) == 1 else None


def _target_name(run: Path, record: RunRecord) -> str:
    """The task of a run: from its run.json, or from the zoo.toml of its workspace."""
    if record.task:
        return record.task
    root = run.resolve().parent.parent
    return config.load(root).task.name if (root / config.FILE).exists() else ""


def _shared_options(record: RunRecord) -> dict[str, Any]:
    """What all runs of one comparison share: everything but the source, the seed and the learning rate."""
    shared = {key: value for key, value in record.options.items() if key not in PER_RUN_OPTIONS}
    shared |= {key: record.inputs.get(key) for key in ("labelled images", "test images")}
    # A source that is fine-tuned is the student itself.
    student = {key: value for key, value in record.student.items() if key != "student" or record.source is None}
    return shared | {"objective": record.objective, "student": student}


def _accuracy(run: Path) -> float:
    stored = predictions.load_predictions(run)
    return float((flip_statistics.predicted_classes(stored.logits) == stored.labels).mean())


def _average(accuracies: Iterable[Accuracy]) -> Accuracies:
    """The mean over the seeds of each source."""
    seeds: dict[tuple[str, str], list[float]] = {}
    for accuracy in accuracies:
        seeds.setdefault((accuracy.target, accuracy.source), []).append(accuracy.value)
    means: Accuracies = {}
    for (target, source), values in seeds.items():
        means.setdefault(target, {})[source] = round(math.fsum(values) / len(values), DIGITS)
    return means
