"""What the judging commands share: where a named run lies, how it is called, and `--out`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo_cli import console
from zoo_cli.errors import UsageError
from zoo_cli.store import files


def resolve_run(path: Path, workspace: Path) -> Path:
    """A run as the user names it: a path as it is, else relative to the workspace, else a name in its runs."""
    candidates = [path, workspace / path, workspace / "runs" / path]
    return next((candidate for candidate in candidates if candidate.exists()), path)


def finished_runs(workspace: Path) -> list[str]:
    """Every run of the workspace that has its predictions. Raises UsageError where there is none."""
    found = sorted(str(path.parent) for path in (workspace / "runs").glob("*/predictions.parquet"))
    if not found:
        raise UsageError(f"no finished run in {workspace / 'runs'}", "zoo distill makes one")
    return found


def display_name(text: str, workspace: Path) -> str:
    """What an answer calls a run: its name where it lies among those of the workspace, else as the user named it."""
    path = resolve_run(Path(text), workspace)
    return path.name if path.is_dir() and path.resolve().parent == (workspace / "runs").resolve() else text


def check_out(out: Path | None) -> None:
    """Raise UsageError for a place of --out that cannot be written, before the work is done."""
    if out is not None and out.suffix not in (".json", ".parquet"):
        raise UsageError(f"--out {out}", "its name ends in .parquet or .json")


def save_answer(out: Path | None, schema: str, data: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Write an answer to --out: its rows as parquet, or the whole of it as JSON."""
    check_out(out)
    if out is None:
        return
    if out.suffix == ".json":
        files.write_json(out, {"schema": schema, "data": console.plain(data), "meta": {}})
    else:
        files.write_rows(out, schema, rows)
