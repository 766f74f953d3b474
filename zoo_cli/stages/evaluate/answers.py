"""What the judging commands share: where a named run lies, and `--out`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo_cli import console, files
from zoo_cli.errors import UsageError


def place(path: Path, workspace: Path) -> Path:
    """A run as the user names it: a path as it is, else relative to the workspace, else a name in its runs."""
    candidates = [path, workspace / path, workspace / "runs" / path]
    return next((candidate for candidate in candidates if candidate.exists()), path)


def keep(out: Path | None, schema: str, data: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Write an answer to --out: its rows as parquet, or the whole of it as JSON."""
    if out is None:
        return
    if out.suffix == ".json":
        files.write_json(out, {"schema": schema, "data": console.plain(data), "meta": {}})
    elif out.suffix == ".parquet":
        files.write_rows(out, schema, rows)
    else:
        raise UsageError(f"--out {out}", "its name ends in .parquet or .json")
