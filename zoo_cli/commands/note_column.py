"""The column that says which sources are untrained; it is there only if one is."""

from collections.abc import Mapping, Sequence
from typing import Any

from zoo_cli.answer_tables import Field

NOTE = Field("note", free=True)


def add_notes(
    rows: Sequence[Mapping[str, Any]], fields: Sequence[Field], notes: Mapping[str, str] | None = None
) -> tuple[list[dict[str, Any]], tuple[Field, ...]]:
    """The rows with their key `note`, and the fields with its column; without both if no row has a note.

    `notes`: by source, for rows that do not have theirs yet.
    """
    if notes is not None:
        rows = [{**row, "note": notes.get(row["source"])} for row in rows]
    if any(row.get("note") for row in rows):
        return [{**row, "note": row.get("note") or None} for row in rows], (*fields, NOTE)
    return [{key: value for key, value in row.items() if key != "note"} for row in rows], tuple(fields)
