"""Scores of metrics to evaluate: from files that zoo wrote, or from a table of any tool, see `tables`.

A table is long, with columns `metric` and `value` (and `params`, `representation` if it has them), or wide: every
other column of numbers is a metric under its own name. An empty cell is an undefined score.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from zoo_cli import console
from zoo_cli.config import STUDENT
from zoo_cli.errors import ContractError
from zoo_cli.evaluation import tables
from zoo_cli.evaluation.tables import Table
from zoo_cli.store import parquet_files, schemas
from zoo_cli.store.score_store import load_size

ACCURACY = ("accuracy", "oracle")
COLUMNS = ("source", "metric", "params", "representation", "value")


@dataclass(frozen=True)
class MetricKey:
    """A metric's spec, the representation that it reads, None if the file does not tell, and the size of the probe set.

    `per_class`: the most images of a class that it was computed on, where that was chosen for the scores.
    """

    metric: str
    representation: str | None = None
    per_class: int | None = None

    def __str__(self) -> str:
        size = None if self.per_class is None else f"{self.per_class} a class"
        return " ".join(filter(None, (self.metric, self.representation, size)))


@dataclass(frozen=True)
class Score:
    """One score of a source, NaN if undefined. `target` "" has no name; `path`: the file it comes from."""

    key: MetricKey
    target: str
    repetition: str
    source: str
    value: float
    path: Path


@dataclass(frozen=True)
class Scores:
    """Scores by metric, target, repetition and source, as `collect_scores` makes them.

    `excluded`: the sources left out because they have seen a target, with that target. `controls`: further orders of
    the sources that are no metrics of the target's features, by name, target and source.
    """

    values: dict[MetricKey, dict[str, dict[str, dict[str, float]]]]
    excluded: frozenset[tuple[str, str]] = frozenset()
    controls: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)

    @property
    def targets(self) -> list[str]:
        """Every target that has scores."""
        return sorted({target for by_target in self.values.values() for target in by_target})

    def sources(self, target: str) -> set[str]:
        """Every source with a score, or an undefined one, for a target."""
        return {
            source
            for by_target in self.values.values()
            for scores in by_target.get(target, {}).values()
            for source in scores
        }

    def name_target(self, name: str) -> "Scores":
        """The same scores, with a name for the target that has none."""
        return Scores(
            {key: {target or name: scores for target, scores in by.items()} for key, by in self.values.items()},
            frozenset((source, target or name) for source, target in self.excluded),
            {control: {target or name: row for target, row in by.items()} for control, by in self.controls.items()},
        )


def collect_scores(
    scores: Iterable[Score],
    excluded: Iterable[tuple[str, str]] = (),
    controls: Mapping[str, dict[str, dict[str, float]]] = MappingProxyType({}),
) -> Scores:
    """Scores in the order in which their metrics come. Raises ContractError if one occurs twice."""
    values: dict[MetricKey, dict[str, dict[str, dict[str, float]]]] = {}
    for score in scores:
        by_source = values.setdefault(score.key, {}).setdefault(score.target, {}).setdefault(score.repetition, {})
        if score.source in by_source:
            metric = f"{score.key} for {score.target}" if score.target else str(score.key)
            raise ContractError(
                f"{score.path}: the score of {score.source} by {metric} occurs twice",
                "tell repetitions apart by a column run; give targets different names",
            )
        by_source[score.source] = score.value
    return Scores(values, frozenset(excluded), dict(controls))


def read_score_files(paths: Iterable[Path], target: str) -> list[Score]:
    """The scores in files that zoo wrote, without the student's."""
    rows = (
        (path, row, size)
        for path in paths
        for size in [load_size(path)]
        for row in parquet_files.read_table(path, schemas.SCORES, COLUMNS).to_pylist()
    )
    return [
        Score(
            MetricKey(_spec(row["metric"], row["params"]), row["representation"], size),
            target,
            "",
            row["source"],
            math.nan if row["value"] is None else row["value"],
            path,
        )
        for path, row, size in rows
        if row["source"] != STUDENT
    ]


def read_score_table(table: Table) -> list[Score]:
    """The scores in a table of any tool, without the student's."""
    rows = list(zip(table.targets(), table.repetitions(), table.sources(), strict=True))
    return [
        Score(key, target, repetition, source, value, table.path)
        for keys, values in _long_column(table) or _wide_columns(table)
        for key, value, (target, repetition, source) in zip(keys, values, rows, strict=True)
        if source != STUDENT
    ]


def _long_column(table: Table) -> list[tuple[list[MetricKey], list[float]]]:
    """The one column of scores of a long table, with the metric of every row; empty if the table is wide."""
    metrics, values = table.find("metric"), table.find("value", "score")
    if metrics is None or values is None:
        return []
    empty: list[Any] = [None] * table.size
    params, representations = table.find("params") or empty, table.find("representation") or empty
    sizes = table.numbers("per_class", table.find("per_class") or empty)
    if None in metrics:
        raise ContractError(f"{table.path}: no metric in row {metrics.index(None) + 1}")
    keys = [
        MetricKey(
            _spec(str(metric), param),
            None if representation is None else str(representation),
            None if math.isnan(size) else int(size),
        )
        for metric, param, representation, size in zip(metrics, params, representations, sizes, strict=True)
    ]
    return [(keys, table.numbers("value", values))]


def _wide_columns(table: Table) -> list[tuple[list[MetricKey], list[float]]]:
    """Every column of a wide table that is a metric: its name is not a key's, and it holds only numbers."""
    columns: list[tuple[list[MetricKey], list[float]]] = []
    others = []
    for name, column in table.columns.items():
        # pandas writes its row numbers under such names.
        if name.casefold() in (*tables.KEYS, *ACCURACY, "", "unnamed: 0") or name.startswith("__"):
            continue
        if _is_numeric(column):
            columns.append(([MetricKey(name)] * table.size, table.numbers(name, column)))
        else:
            others.append(name)
    if not columns:
        raise ContractError(f"{table.path} has no scores", "one column per metric, or the columns metric and value")
    if others:
        console.warn(f"{table.path}: columns that do not hold numbers are not scores: {', '.join(others)}")
    return columns


def _is_numeric(column: list[Any]) -> bool:
    try:
        for cell in column:
            if cell is not None:
                float(cell)
    except (TypeError, ValueError):
        return False
    return True


def _spec(metric: str, params: Any) -> str:
    return f"{metric}:{params}" if params else metric
