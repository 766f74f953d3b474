"""What `zoo evaluate overlap` prints."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from zoo_cli.answer_tables import Field
from zoo_cli.commands.evaluate.answers import print_answer
from zoo_cli.pipeline.image_overlap import Overlap, refuse_overlaps, warn_of_overlaps

FIELDS = (
    Field("source"),
    Field("n", style=","),
    Field("seen", style=">"),
    Field("example"),
)
TYPES = {"seen": "int64", "examples": "list<string>"}


def print_overlaps(overlaps: Sequence[Overlap], out: Path | None, form: str | None, *, strict: bool) -> None:
    """A row for each source, then a warning of those that were trained on test images; with `strict` an error."""
    rows = [asdict(overlap) | {"examples": list(overlap.examples)} for overlap in overlaps]
    table = [
        {**row, "seen": "unknown" if row["seen"] is None else f"{row['seen']:,}", "example": _first(row["examples"])}
        for row in rows
    ]
    print_answer("zoo.evaluate-overlap/1", rows, FIELDS, rows=rows, table=table, out=out, form=form, types=TYPES)
    warn_of_overlaps(overlaps)
    if strict:
        refuse_overlaps(overlaps)


def _first(names: Sequence[str]) -> str:
    return names[0] if names else ""
