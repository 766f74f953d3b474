"""Finished runs for tests of tables, written without training: a record of what was asked, and predictions."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from zoo_cli.store import checksums

CLASSES = ("cat", "dog", "eel")
STUDENT = {"model": "torchvision:resnet18", "weights": "", "args": {}}


def draw_labels(n: int, seed: int) -> np.ndarray:
    """Labels (n,) of a task."""
    return np.random.default_rng(seed).integers(0, len(CLASSES), n)


def draw_predictions(labels: np.ndarray, accuracy: float, seed: int) -> np.ndarray:
    """Predicted classes (N,): right with a probability."""
    rng = np.random.default_rng([seed, 1])
    wrong = (labels + rng.integers(1, len(CLASSES), len(labels))) % len(CLASSES)
    return np.where(rng.random(len(labels)) < accuracy, labels, wrong)


def make_workspace(folder: Path, task: str, classes: tuple[str, ...] = CLASSES) -> Path:
    """A workspace without data: its zoo.toml and class names."""
    (folder / "runs").mkdir(parents=True)
    (folder / "zoo.toml").write_text(f'[task]\nname = "{task}"\ntrain = "folder:images"\n')
    (folder / "classes.json").write_text(json.dumps({"names": classes}))
    return folder


def make_run(
    workspace: Path,
    name: str,
    labels: np.ndarray,
    predicted: np.ndarray,
    *,
    seed: int = 0,
    objective: str = "cross-task",
    asked: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    ids: list[str] | None = None,
    classes: tuple[str, ...] = CLASSES,
    **record: Any,
) -> Path:
    """A finished run of a workspace. `asked`: {} is labels only; None: a run of an earlier version.

    `ids`: of the samples, by default their numbers.
    """
    folder = workspace / "runs" / name
    folder.mkdir(parents=True)
    labels_only = objective == "cross-task" and asked == {}
    content = {
        "objective": objective,
        "weights": [],
        "student": {"student": STUDENT, "init": ""},
        "options": {"seed": seed, "steps": 10, "lr": 0.01, "lam": 1.0 if labels_only else 0.8, **(options or {})},
        "inputs": {"labelled images": "x", "test images": "y"},
        "size": {"parameters": 11_000_000, "macs": 1_800_000_000},
        **({} if asked is None else {"asked": {"epochs": 30, **asked}}),
        **record,
    }
    (folder / "run.json").write_text(json.dumps(content))
    (folder / "config.json").write_text(json.dumps({"zoo": {"classes": classes}}))
    logits = np.eye(len(classes), dtype=np.float32)[predicted]
    table = {"id": ids or [str(i) for i in range(len(labels))], "label": labels, "logits": list(logits)}
    pq.write_table(pa.table(table), folder / "predictions.parquet")
    checksums.write_sums(folder, ["run.json", "config.json", "predictions.parquet"])
    return folder
