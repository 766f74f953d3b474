"""Stored scores: one row per source and metric, each in its own file in scores/SPEC/."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from zoo_cli.errors import ContractError
from zoo_cli.store import commits, parquet_files, schemas
from zoo_cli.store.columns import arrow_schema
from zoo_cli.store.provenance import Inputs

SIZE = "per_class"
"""The key of the inputs in a header that holds the chosen size of a probe set."""
INTERVALS = "intervals"
WITHOUT_INTERVALS: Inputs = {INTERVALS: "none"}
"""What the inputs in a header hold beside others where scores are values alone."""


def has_intervals(made_from: Inputs) -> bool:
    """Whether scores with these inputs were computed with intervals and chance levels."""
    return bool(made_from.get(INTERVALS) != WITHOUT_INTERVALS[INTERVALS])


@dataclass(frozen=True)
class ScoreRow:
    """The score of one source by one metric; the columns of `schemas.SCORES`, in their order.

    `status`: ok, undefined, skipped or failed. `draws`: the replicates that a ranking pairs over sources by position.
    `per_class`, no column: the most images of a class that it was computed on, where that was chosen for it.
    """

    source: str
    metric: str
    params: str
    representation: str
    n: int
    dim: int = 0
    classes: int = 0
    value: float | None = None
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    status: str = "ok"
    reason: str | None = None
    ceiling: float | None = None
    flags: str | None = None
    draws: Sequence[float] | None = None
    error: float | None = None
    error_half: float | None = None
    chance_error: float | None = None
    per_class: int | None = None

    @property
    def spec(self) -> str:
        """The metric's spec: its name and parameters, as typed."""
        return f"{self.metric}:{self.params}" if self.params else self.metric


def write_scores(path: Path, rows: Sequence[ScoreRow], inputs: Inputs) -> None:
    """Store scores. `inputs`: what they were made from."""
    parquet_files.write_table(path, _to_table(rows), schemas.SCORES, inputs)


def write_together(scores: Sequence[tuple[Path, ScoreRow, Inputs]], texts: Mapping[Path, str]) -> None:
    """Store many scores, each in its own file, and texts, by their files: all are on the disk before any is in place.

    One after another each would wait for the disk, twice.
    """
    paths = [path for path, _, _ in scores]
    with commits.replacing_together(*paths, *texts) as temporaries:
        for (path, row, inputs), temporary in zip(scores, temporaries, strict=False):
            table = _to_table([row])
            with parquet_files.table_writer(path, schemas.SCORES, inputs, table.schema, temporary=temporary) as write:
                write(table)
        for text, temporary in zip(texts.values(), temporaries[len(paths) :], strict=True):
            temporary.write_text(text, encoding="utf-8")


def _to_table(rows: Sequence[ScoreRow]) -> pa.Table:
    return pa.Table.from_pylist([asdict(row) for row in rows], schema=arrow_schema(schemas.SCORES))


def load_scores(path: Path) -> list[ScoreRow]:
    """The scores in a file. Raises ContractError if it breaks the schema."""
    names = {field.name for field in fields(ScoreRow)} - {SIZE}
    table = parquet_files.read_table(path, schemas.SCORES)
    size = _find_size(path, parquet_files.parse_header(path, table.schema))
    rows = table.to_pylist()
    return [ScoreRow(**{key: value for key, value in row.items() if key in names}, per_class=size) for row in rows]


def load_size(path: Path) -> int | None:
    """The most images of a class that the scores in a file were computed on; None: the whole probe set."""
    return _find_size(path, parquet_files.read_header(path))


def _find_size(path: Path, header: Mapping[str, Any]) -> int | None:
    made_from = header.get("inputs")
    size = made_from.get(SIZE) if isinstance(made_from, Mapping) else None
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
        raise ContractError(f"{path}: {SIZE} in its header is {size!r}", "zoo score makes it again")
    return size
