"""Describe an artifact: what it is, what it was made from, and how much is in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo_cli.errors import UsageError
from zoo_cli.evaluation import named_runs
from zoo_cli.label_sets import load_config
from zoo_cli.store import export_files, files, parquet_files, source_record
from zoo_cli.store.checksums import is_finished
from zoo_cli.store.source_record import SourceRecord
from zoo_cli.training.run_record import read_record

FIRST_ROWS = 5


@dataclass(frozen=True)
class Artifact:
    """A file or run folder; `entries`: what is known of it, by name, as values of JSON.

    `first_rows`: of a parquet file, as its columns hold them.
    """

    path: Path
    entries: Mapping[str, Any]
    first_rows: tuple[Mapping[str, Any], ...] = ()


def describe_artifact(path: Path, workspace: Path, labels: str | None = None) -> Artifact:
    """Describe a file, or a run by its folder or name. Relative paths are tried in the workspace too.

    `labels`: a label set, in whose folder the path is then looked up alone. Raises UsageError for a path that does not
    exist or is not an artifact, ContractError for a damaged file.
    """
    if labels is None:
        path = named_runs.resolve_artifact(path, workspace)
    else:
        path = load_config(workspace, labels).labels_root / path
    if path.is_dir():
        return Artifact(path, _describe_run(path))
    entries = _describe_file(path)
    return Artifact(path, entries, parquet_files.first_rows(path, FIRST_ROWS) if path.suffix == ".parquet" else ())


def _describe_file(path: Path) -> dict[str, Any]:
    if path.suffix == ".parquet":
        header = parquet_files.read_header(path)
        return {
            "file": str(path),
            "schema": header.get("schema", "none of ours"),
            "rows": parquet_files.row_count(path),
            "columns": parquet_files.column_types(path),
            "inputs": header.get("inputs", {}),
            "made_by": header.get("made_by", "unknown"),
            **({"card": header["card"]} if "card" in header else {}),
        }
    if path.suffix == ".json":
        content = files.read_json(path)
        entries = {"file": str(path), **(content if isinstance(content, dict) else {"content": content})}
        if path.name == source_record.DOCUMENT and (note := SourceRecord(entries).weights_note):
            entries["note"] = note
        return entries
    if path.suffix == ".jsonl":
        lines = files.read_lines(path)
        return {"file": str(path), "rows": len(lines), "last": lines[-1] if lines else {}}
    if path.suffix == ".safetensors":
        tensors, metadata = files.read_tensors(path)
        shapes = {
            name: f"{tensor.dtype} {tuple(tensor.shape)}".removeprefix("torch.") for name, tensor in tensors.items()
        }
        return {"file": str(path), "sha256": files.digest(path), "metadata": metadata, "tensors": shapes}
    if path.suffix in export_files.ENDINGS and export_files.has_record(path):
        export_files.load_checked_record(path)
        return {"file": str(path), **files.read_json(export_files.record_file(path))}
    if not path.exists():
        raise UsageError(f"no file {path}", "name a file, a run folder, or a run in runs/")
    raise UsageError(f"{path} is not an artifact of zoo", "expected parquet, json, jsonl, safetensors or a run folder")


def _describe_run(path: Path) -> dict[str, Any]:
    if not (path / "run.json").exists():
        raise UsageError(f"{path} is not a run folder", "it has no run.json")
    entries: dict[str, Any] = {"run": str(path), **read_record(path / "run.json")}
    entries["finished"] = is_finished(path)
    if (path / "metrics.jsonl").exists():
        lines = files.read_lines(path / "metrics.jsonl")
        entries["last"] = lines[-1] if lines else {}
    return entries
