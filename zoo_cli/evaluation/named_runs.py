"""Runs of a workspace by name: where one lies, which are finished, and what an answer calls it."""

from pathlib import Path

from zoo_cli.errors import UsageError
from zoo_cli.store.checksums import DOMAINS, is_finished
from zoo_cli.store.swap import run_place

LABELS_ONLY = "labels-only"
"""The start of the default name of a run of labels only."""
RUN_FILES = ("run.json", "predictions.parquet", "model.safetensors", "config.json")
"""One of them is in every folder of a run or a model."""


def resolve_run(path: Path, workspace: Path) -> Path:
    """The path as typed, relative to the current folder; else the run of the workspace named NAME or runs/NAME.

    A folder of another kind does not hide the run of its name: `heads` is a run, and a folder of every workspace with
    heads. A path that is neither is returned as typed.
    """
    if path.name in ("", "..") or path not in (Path(path.name), Path("runs", path.name)):
        return path
    run = workspace / "runs" / path.name
    hidden = path.is_dir() and not any((path / name).exists() for name in RUN_FILES)
    return run if run.exists() and (hidden or not path.exists()) else path


def resolve_artifact(path: Path, workspace: Path) -> Path:
    """The path as typed, relative to the current folder; else relative to the workspace, else a run by its name."""
    inside = workspace / path
    return inside if inside.exists() and not path.exists() else resolve_run(path, workspace)


def finished_runs(workspace: Path) -> list[str]:
    """Every run of the workspace that has its predictions, those of labels only first: others are compared with them.

    Raises UsageError if there is none.
    """
    folders = finished_beside(workspace / "runs")
    runs = [
        str(folder) for folder in sorted(folders, key=lambda folder: (not folder.name.startswith(LABELS_ONLY), folder))
    ]
    if not runs:
        raise UsageError(f"no finished run in {workspace / 'runs'}", "zoo distill makes one")
    return runs


def finished_beside(folder: Path) -> list[Path]:
    """The folders of finished runs in a folder, by name, without those that are to replace others."""
    runs = sorted(file.parent for file in folder.glob("*/predictions.parquet"))
    return [run for run in runs if run_place(run) == run and is_finished(run)]


def expand_domains(text: str, workspace: Path) -> list[str]:
    """A run as typed; for the folder of an expert of several domains, that of each domain, by name."""
    parts = finished_beside(resolve_run(Path(text), workspace) / DOMAINS)
    return [str(part) for part in parts] or [text]


def display_name(text: str, workspace: Path) -> str:
    """What an answer calls a run: its name if it is a run of the workspace, else the text as typed."""
    path = resolve_run(Path(text), workspace)
    return path.name if path.is_dir() and path.resolve().parent == (workspace / "runs").resolve() else text
