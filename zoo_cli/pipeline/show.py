"""`zoo show`: what an artifact is, what it was made from, and its first rows."""

from pathlib import Path
from typing import Annotated, Any

import typer

from zoo_cli import console
from zoo_cli.commands.options import HERE, Format, Json, Workspace
from zoo_cli.errors import UsageError
from zoo_cli.evaluation import named_runs
from zoo_cli.store import files

FIELDS = (console.Field("key"), console.Field("value"))
LONG = 120


def show(
    path: Annotated[Path, typer.Argument(help="A file or a run folder of a workspace, or any parquet.")],
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """Show an artifact: schema, rows, columns, what it was made from.

    zoo show manifest.parquet
    zoo show runs/cross-task-parc-p2-s0
    """
    found = named_runs.resolve_artifact(path, workspace)
    told = _folder(found) if found.is_dir() else _file(found)
    rows = [{"key": key, "value": _short(value)} for key, value in told.items()]
    console.answer("zoo.show/1", told, FIELDS, form="json" if json else form, table=rows)


def _file(path: Path) -> dict[str, Any]:
    if path.suffix == ".parquet":
        head = files.read_header(path)
        return {
            "file": str(path),
            "schema": head.get("schema", "none of ours"),
            "rows": files.row_count(path),
            "columns": files.column_types(path),
            "inputs": head.get("inputs", {}),
            "made_by": head.get("made_by", "unknown"),
        }
    if path.suffix == ".json":
        said = files.read_json(path)
        return {"file": str(path), **(said if isinstance(said, dict) else {"content": said})}
    if path.suffix == ".jsonl":
        lines = files.read_lines(path)
        return {"file": str(path), "rows": len(lines), "last": lines[-1] if lines else {}}
    if path.suffix == ".safetensors":
        tensors, metadata = files.read_tensors(path)
        told = {
            name: f"{tensor.dtype} {tuple(tensor.shape)}".removeprefix("torch.") for name, tensor in tensors.items()
        }
        return {"file": str(path), "sha256": files.digest(path), "metadata": metadata, "tensors": told}
    if not path.exists():
        raise UsageError(f"no file {path}")
    raise UsageError(f"{path} is nothing that zoo writes", "parquet, json, jsonl, safetensors or a run folder")


def _folder(path: Path) -> dict[str, Any]:
    if not (path / "run.json").exists():
        raise UsageError(f"{path} is no run folder", "it holds no run.json")
    told: dict[str, Any] = {"run": str(path), **files.read_json(path / "run.json")}
    told["finished"] = (path / "predictions.parquet").exists()
    if (path / "metrics.jsonl").exists():
        lines = files.read_lines(path / "metrics.jsonl")
        told["last"] = lines[-1] if lines else {}
    return told


def _short(value: Any) -> str:
    if isinstance(value, dict):
        text = ", ".join(f"{key} {_short(item)}" for key, item in value.items())
    else:
        text = ", ".join(map(_short, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= LONG else text[:LONG] + " …"
