"""SCORES to judge: of workspaces, of a file that zoo wrote, or of anybody's table, see `tables`.

A table is long, with columns `metric` and `value` (and `params`, `representation` where it has them), or wide: every
other column of numbers is a metric under its own name. An empty cell is a score that is undefined.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo_cli import config, console
from zoo_cli.config import STUDENT
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.pipeline import leakage
from zoo_cli.pipeline.evaluate import tables
from zoo_cli.pipeline.evaluate.tables import Table
from zoo_cli.store import files, schemas

ACCURACY = ("accuracy", "oracle")
COLUMNS = ("source", "metric", "params", "representation", "value")

Question = tuple[str, str | None]
"""A metric's spec and the representation that it reads, None where nobody says."""


@dataclass
class Scores:
    """Scores, NaN where undefined, by question, target, repetition and source; the target "" has no name.

    `barred`: the sources left out because they have seen a target, with that target.
    """

    values: dict[Question, dict[str, dict[str, dict[str, float]]]] = field(default_factory=dict)
    barred: set[tuple[str, str]] = field(default_factory=set)

    @property
    def targets(self) -> list[str]:
        """Every target that has scores."""
        return sorted({target for of_targets in self.values.values() for target in of_targets})

    def sources(self, target: str) -> set[str]:
        """Every source that some metric was asked about for a target."""
        return {
            source
            for of_targets in self.values.values()
            for scores in of_targets.get(target, {}).values()
            for source in scores
        }

    def rename(self, target: str, name: str) -> None:
        """Give a target another name."""
        for of_targets in self.values.values():
            if target in of_targets:
                of_targets[name] = of_targets.pop(target)
        self.barred = {(source, name if other == target else other) for source, other in self.barred}

    def add(self, path: Path, question: Question, target: str, repetition: str, source: str, value: float) -> None:
        """One score. Raises ContractError where it is there already."""
        place = self.values.setdefault(question, {}).setdefault(target, {}).setdefault(repetition, {})
        if source in place:
            told = " ".join(part for part in (*question, f"for {target}" if target else "") if part)
            raise ContractError(
                f"{path}: the score of {source} by {told} stands twice",
                "a column run tells repetitions apart; targets need names of their own",
            )
        place[source] = value


def load_scores(path: Path) -> Scores:
    """The scores at a path: a table, a scores file or folder, a workspace, or a folder of workspaces.

    The target of a workspace is the task's name; sources that have seen it are left out, which is said.
    """
    found = Scores()
    if path.is_file():
        if path.suffix == ".parquet" and files.read_header(path).get("schema") == schemas.SCORES.tag:
            _workspace(found, path.parent, [path])
        else:
            _table(found, tables.load_table(path))
    elif path.is_dir():
        folders = [path / "scores"] if (path / "scores").is_dir() else sorted(path.glob("*/scores")) or [path]
        for folder in folders:
            # A folder a metric; files of earlier versions, one a metric, are passed over where there are folders.
            _workspace(found, folder, sorted(folder.glob("*/*.parquet")) or sorted(folder.glob("*.parquet")))
    else:
        raise UsageError(f"no file or folder {path}", "SCORES is a workspace, its scores, or a table")
    if not found.values:
        raise UsageError(f"no scores in {path}", "zoo score makes them")
    return found


def _workspace(found: Scores, folder: Path, paths: Iterable[Path]) -> None:
    """The scores in a folder that zoo wrote them into."""
    settings = config.load(folder.parent)
    target = settings.task.name if (folder.parent / config.FILE).exists() and folder.name == "scores" else ""
    rows = [(path, row) for path in paths for row in files.read_table(path, schemas.SCORES, COLUMNS).to_pylist()]
    names = [name for name in dict.fromkeys(row["source"] for _, row in rows) if name != STUDENT]
    barred = leakage.excluded_sources(settings, names) if target else {}
    if barred:
        told = ", ".join(f"{name} ({why})" for name, why in barred.items())
        console.say(f"{target}: left out {told}")
    found.barred |= {(name, target) for name in barred}
    for path, row in rows:
        if row["source"] in names and row["source"] not in barred:
            question = (_spec(row["metric"], row["params"]), row["representation"])
            value = math.nan if row["value"] is None else row["value"]
            found.add(path, question, target, "", row["source"], value)


def _table(found: Scores, table: Table) -> None:
    """The scores in anybody's table."""
    rows = list(zip(table.targets(), table.repetitions(), table.sources(), strict=True))
    for questions, values in _long(table) or _wide(table):
        for question, value, (target, repetition, source) in zip(questions, values, rows, strict=True):
            if source != STUDENT:
                found.add(table.path, question, target, repetition, source, value)


def _long(table: Table) -> list[tuple[list[Question], list[float]]]:
    """The one column of scores of a long table, with the question of every row; none where the table is wide."""
    metrics, values = table.find("metric"), table.find("value", "score")
    if metrics is None or values is None:
        return []
    nothing: list[Any] = [None] * table.size
    params, representations = table.find("params") or nothing, table.find("representation") or nothing
    if None in metrics:
        raise ContractError(f"{table.path}: no metric in row {metrics.index(None) + 1}")
    questions: list[Question] = [
        (_spec(str(metric), some), None if on is None else str(on))
        for metric, some, on in zip(metrics, params, representations, strict=True)
    ]
    return [(questions, table.numbers("value", values))]


def _wide(table: Table) -> list[tuple[list[Question], list[float]]]:
    """Every column of a wide table that is a metric: it has a name that is no key's, and holds numbers alone."""
    found: list[tuple[list[Question], list[float]]] = []
    others = []
    for name, column in table.columns.items():
        # pandas writes its row numbers under such names.
        if name.casefold() in (*tables.KEYS, *ACCURACY, "", "unnamed: 0") or name.startswith("__"):
            continue
        if _numeric(column):
            found.append(([(name, None)] * table.size, table.numbers(name, column)))
        else:
            others.append(name)
    if not found:
        raise ContractError(f"{table.path} has no scores", "a column a metric, or columns metric and value")
    if others:
        console.warn(f"{table.path}: columns that hold other things than numbers are no scores: {', '.join(others)}")
    return found


def _numeric(column: list[Any]) -> bool:
    try:
        for cell in column:
            if cell is not None:
                float(cell)
    except (TypeError, ValueError):
        return False
    return True


def _spec(metric: str, params: Any) -> str:
    return f"{metric}:{params}" if params else metric
