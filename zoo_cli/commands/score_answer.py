"""The answer of `zoo score`: on a terminal and in Markdown a table for each metric, the best source first."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from zoo_cli.answer_tables import Field, Grid, show_answer
from zoo_cli.commands.note_column import add_notes
from zoo_cli.config import STUDENT

FIELDS = (
    Field("source"),
    Field("metric"),
    Field("representation", "on"),
    Field("value", style="score"),
    Field("low", style="score"),
    Field("high", style="score"),
    Field("chance", style="score"),
    Field("n", style="d"),
    Field("dim", style="d"),
    Field("status"),
    Field("reason", free=True),
    Field("flags", free=True),
)
SIZE = Field("per_class", "a class", "d")
MARK = Field("best", free=True)
BEST = "*"
STATUS = Field("status", free=True)
"""On a terminal it is there only where it is not ok."""
GROUPED = ("metric", "representation", "per_class")

Rows = Sequence[Mapping[str, Any]]


def answer_scores(
    rows: Rows,
    source_notes: Mapping[str, str],
    form: str | None,
    *,
    by_size: bool,
    meta: Mapping[str, Any],
    notes: Sequence[str],
) -> None:
    """Print the scores. `by_size`: on probe sets of several sizes, which stand beside them."""
    rows, fields = add_notes(rows, [*FIELDS[:3], SIZE, *FIELDS[3:]] if by_size else FIELDS, source_notes)
    grids = list(_group(rows, fields))
    show_answer("zoo.score/1", rows, fields, form=form, meta=meta, notes=notes, grids=grids)


def _group(rows: Rows, fields: Sequence[Field]) -> Iterator[Grid]:
    """A table for each metric, representation and size, in their order; the best source stands first, with a mark."""
    keys = [field.key for field in fields if field.key in GROUPED]
    shown = [MARK, *(STATUS if field.key == "status" else field for field in fields if field.key not in keys)]
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    for group, members in groups.items():
        ordered = sorted(members, key=lambda row: math.inf if row["value"] is None else -row["value"])
        values = [row["value"] for row in ordered if row["source"] != STUDENT and row["value"] is not None]
        best = values[0] if len(values) > 1 else None
        lines = [
            {
                **row,
                "best": BEST if best is not None and row["source"] != STUDENT and row["value"] == best else "",
                "status": None if row["status"] == "ok" else row["status"],
            }
            for row in ordered
        ]
        yield Grid(_title(*group), lines, shown, keys=2)


def _title(metric: str, representation: str, *sizes: int | None) -> str:
    name = f"{metric} on {representation}"
    return name + "".join(", all images" if size is None else f", {size:,} images a class" for size in sizes)
