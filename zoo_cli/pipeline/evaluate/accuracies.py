"""ACCURACIES to judge by: of finished runs that learned from one source, or of anybody's table, see `tables`.

A table has the column `accuracy`, or `Oracle` as the PARC benchmark calls it, in any unit. An accuracy that is missing
or negative, as that benchmark writes it, is not known. Several seeds of one source count by their mean.
"""

import glob
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo_cli import config, console
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.pipeline.evaluate import predictions, tables
from zoo_cli.store import files

DIGITS = 12  # means of seeds that are equal but for rounding are equal
OWN = ("seed", "lr")
"""Options that runs of one comparison need not share: a sweep chooses the learning rate for each source."""

Accuracies = dict[str, dict[str, float]]
"""By target and source; the target "" has no name."""


def load_accuracies(path: Path) -> Accuracies:
    """The accuracies at a path: a table, a workspace, a folder of runs or of workspaces, or a pattern of run folders.

    Raises UsageError where there are none, or where the runs of one target were not all made alike.
    """
    if path.is_file():
        return _table(tables.load_table(path))
    folders = [path] if path.exists() else [Path(name) for name in sorted(glob.glob(str(path)))]
    found = [run for folder in folders for run in _runs(folder)]
    if not found:
        raise UsageError(f"no runs in {path}", "zoo distill --each-source makes them; or give a table of accuracies")
    return _of_runs(path, found)


def _table(table: tables.Table) -> Accuracies:
    column = table.find("accuracy", "oracle")
    if column is None:
        raise ContractError(f"{table.path} has no column accuracy", f"its columns: {', '.join(table.columns)}")
    values = table.numbers("accuracy", column)
    rows = list(zip(table.targets(), table.sources(), table.repetitions(), strict=True))
    (row, count), *_ = Counter(rows).most_common(1)
    if count > 1:
        told = " ".join(part for part in (row[1], f"for {row[0]}" if row[0] else "") if part)
        raise ContractError(
            f"{table.path}: the accuracy of {told} stands {count} times", "a column seed tells repetitions apart"
        )
    unknown = sum(not value >= 0 for value in values)
    if unknown:
        console.warn(f"{table.path}: {unknown:,} accuracies that are missing or negative are left out")
    return _means([(target, source, v) for (target, source, _), v in zip(rows, values, strict=True) if v >= 0])


def _runs(folder: Path) -> list[Path]:
    """The run folders of a run, a folder of runs, a workspace or a folder of workspaces."""
    for pattern in ("run.json", "*/run.json", "runs/*/run.json", "*/runs/*/run.json"):
        found = sorted(path.parent for path in folder.glob(pattern))
        if found:
            return found
    return []


def _of_runs(path: Path, runs: Sequence[Path]) -> Accuracies:
    rows: list[tuple[str, str, float]] = []
    first: dict[str, tuple[Path, dict[str, Any]]] = {}
    others = unfinished = 0
    for run in runs:
        said = files.read_json(run / "run.json")
        try:
            source, making = _source(said), _making(said)
        except (AttributeError, KeyError, TypeError):
            raise ContractError(f"{run / 'run.json'} does not say what a run of zoo says") from None
        if source is None:
            others += 1
        elif not (run / "predictions.parquet").exists():
            unfinished += 1
        else:
            target = _target(run, said)
            before = first.setdefault(target, (run, making))
            changed = sorted(k for k in {**before[1], **making} if before[1].get(k) != making.get(k))
            if changed:
                raise UsageError(
                    f"{before[0]} and {run} differ in {', '.join(changed)}: their accuracies do not compare",
                    'name runs of one kind by a pattern, as in "runs/finetune-*"',
                )
            rows.append((target, source, _accuracy(run)))
    if unfinished:
        console.warn(f"{path}: {unfinished:,} runs are not finished and left out")
    if others:
        console.say(f"{path}: {others:,} runs that learned from no source, or from several, are left out")
    if not rows:
        raise UsageError(
            f"no finished run in {path} learned from one source", "zoo distill --each-source makes one of each source"
        )
    return _means(rows)


def _source(said: dict[str, Any]) -> str | None:
    """The one source that a run learned from: the only one with a weight, or the one that was fine-tuned."""
    if "source" in said:
        return str(said["source"])
    weighted = [row["source"] for row in said.get("weights", ()) if row["weight"] > 0]
    return str(weighted[0]) if len(weighted) == 1 else None


def _target(run: Path, said: dict[str, Any]) -> str:
    """The task that a run was made for: as it says, or as the zoo.toml of its workspace does."""
    if said.get("task"):
        return str(said["task"])
    root = run.resolve().parent.parent
    return config.load(root).task.name if (root / config.FILE).exists() else ""


def _making(said: dict[str, Any]) -> dict[str, Any]:
    """What all runs of one comparison share: all but the source, the seed and the learning rate."""
    shared = {key: value for key, value in said["options"].items() if key not in OWN}
    shared |= {key: said["inputs"].get(key) for key in ("labelled images", "test images")}
    # A source that is fine-tuned is the student itself.
    student = {key: value for key, value in said["student"].items() if key != "student" or "source" not in said}
    return shared | {"objective": said["objective"], "student": student}


def _accuracy(run: Path) -> float:
    from zoo_cli.evaluation import flip_statistics

    told = predictions.load_predictions(run)
    return float((flip_statistics.predicted_classes(told.logits) == told.labels).mean())


def _means(rows: Sequence[tuple[str, str, float]]) -> Accuracies:
    seeds: dict[tuple[str, str], list[float]] = {}
    for target, source, value in rows:
        seeds.setdefault((target, source), []).append(value)
    found: Accuracies = {}
    for (target, source), values in seeds.items():
        found.setdefault(target, {})[source] = round(math.fsum(values) / len(values), DIGITS)
    return found
