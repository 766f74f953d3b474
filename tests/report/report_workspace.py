"""A small workspace with everything that a report shows: a ranking, a pool of heads, and four finished runs."""

import json
from pathlib import Path

import numpy as np

from tests.evaluate.made_runs import make_run
from tests.workspaces import CLASSES, make, run
from zoo_cli.store import checksums
from zoo_cli.store.manifest import load_manifest

ACCURACIES = {"labels-only-s0": 0.5, "of-alpha": 0.4, "of-beta": 0.6, "weighted": 0.8}


def make_whole(folder: Path) -> Path:
    """The workspace: alpha, beta and gamma are ranked by parc, the runs have predictions of the 6 test images."""
    workspace = make(folder, upto="rank")
    result = run("pseudo-label", "--head", "ridge", workspace=workspace)
    assert result.code == 0, result.err
    add_runs(workspace)
    return workspace


def add_runs(workspace: Path) -> None:
    """Add finished runs, without training: their predictions are right with the probabilities of ACCURACIES."""
    images = load_manifest(workspace / "manifest.parquet", workspace)
    rows = images.where(split=("test",))
    labels, ids = images.truth()[rows], [str(name) for name in images.ids[rows]]
    for seed, (name, accuracy) in enumerate(ACCURACIES.items()):
        wrong = np.roll(np.arange(len(labels)) >= accuracy * len(labels), seed)
        predicted = np.where(wrong, (labels + 1 + seed % 2) % len(CLASSES), labels)
        weights = [{"source": name[3:], "weight": 1.0}] if name.startswith("of-") else []
        asked = {} if name.startswith("labels-only") else {"weighting": "p=2"}
        folder = make_run(
            workspace,
            name,
            labels,
            predicted,
            seed=0,
            asked=asked,
            ids=ids,
            classes=CLASSES,
            weights=weights,
            task="patterns",
        )
        log = [{"step": step, "loss": 3.0 / step, "labelled_accuracy": 1 - 1 / step, "lr": 0.1} for step in (1, 2, 4)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log), encoding="utf-8")
        (folder.parent / f"{name}.log.json").write_text(json.dumps({"seconds": 10.0 * (seed + 1)}), encoding="utf-8")
        checksums.write_sums(folder, ["run.json", "config.json", "predictions.parquet", "metrics.jsonl"])
