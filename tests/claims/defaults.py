"""The defaults of `zoo distill`, chosen on six packs and compared on eight others, see `defaults.md`.

    python -m tests.claims.defaults choose WORK [--until HH:MM]     # the grid of lam and augmentation
    python -m tests.claims.defaults compare WORK [--until HH:MM]    # the comparison
    python -m tests.claims.defaults unflagged WORK [--until HH:MM]  # what a user gets without further flags
    python -m tests.claims.defaults_tables WORK                     # the tables, of what is finished

Interrupted, they go on where they stopped. `results.jsonl` in WORK has a row for every finished student and every pool.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

import zoo_cli as zoo
from zoo_cli import specs
from zoo_cli.evaluation import flip_statistics, predictions
from zoo_cli.store import feature_files, files
from zoo_cli.store.manifest import load_manifest
from zoo_cli.store.score_store import load_scores

from .defaults_workspaces import Cell, all_cells, development_cells, link_features, make_pretraining, make_workspace

POOLS = ("product", "kernel", "spread", "logmean", "best")
BATCH, RATE = 64, 0.03
LABELS_ONLY, FIXMATCH, CROSS_TASK, HEADS = "labels-only", "fixmatch", "cross-task", "heads"


@dataclass(frozen=True)
class Method:
    """One student of a cell: its objective, what it learns from, lam and augmentation.

    `steps` 0: with the length, batch size and learning rate that `zoo distill` has by default.
    """

    objective: str
    teaching: str = ""
    lam: float = 1.0
    augment: str = "flip"
    steps: int = 300

    @property
    def name(self) -> str:
        length = "" if self.steps == Method.steps else str(self.steps or "default")
        teaching = specs.slug(self.teaching) if self.teaching else ""
        parts = [self.objective, teaching, f"{self.lam:g}", self.augment, length]
        return "-".join(part for part in parts if part)


GRID = (
    *(Method(LABELS_ONLY, augment=augment) for augment in ("flip", "crop", "affine")),
    *(
        Method(CROSS_TASK, weighting, lam, augment)
        for weighting in ("p=2", "p=12")
        for lam in (0.2, 0.5, 0.8)
        for augment in ("flip", "crop")
    ),
    *(Method(CROSS_TASK, weighting, lam, "affine") for weighting in ("p=2", "p=12") for lam in (0.2, 0.5, 0.8)),
    *(Method(HEADS, "product", lam, augment) for lam in (0.2, 0.5) for augment in ("none", "flip", "crop", "affine")),
)


LAM, HEADS_LAM, AUGMENT = 0.5, 0.2, "affine"
"""What the grid chose by its means."""
PAPER_LAM = 0.8
"""That of paper 000, which the grid does not tell from LAM."""
BOTH = (
    *(Method(LABELS_ONLY, augment=augment) for augment in ("flip", "crop", "affine")),
    Method(HEADS, "product", HEADS_LAM, AUGMENT),
    *(Method(CROSS_TASK, weighting, LAM, AUGMENT) for weighting in ("p=2", "p=12", "nearest")),
    Method(FIXMATCH, augment="shift"),
)
COMPARED = {
    "scratch": (
        *BOTH,
        *(Method(CROSS_TASK, weighting, LAM, AUGMENT) for weighting in ("equal", "averaged")),
        *(Method(CROSS_TASK, weighting, PAPER_LAM, AUGMENT) for weighting in ("p=2", "p=12")),
        *(Method(HEADS, pool, HEADS_LAM, AUGMENT) for pool in POOLS[1:]),
        Method(HEADS, "product+cross-task", HEADS_LAM, AUGMENT),
    ),
    "pretrained": BOTH,
}
"""The methods of the comparison, by student."""
UNFLAGGED = (
    Method(LABELS_ONLY, augment=AUGMENT, steps=0),
    Method(CROSS_TASK, "p=2", PAPER_LAM, AUGMENT, 0),
    Method(HEADS, "product", HEADS_LAM, AUGMENT, 0),
)
"""What a user gets without further flags, for the student from scratch and draw 0."""


def train_student(workspace: zoo.Workspace, method: Method, seed: int) -> Path:
    """Train the student of a method; its run's folder."""
    training = zoo.TrainingConfig(augment=method.augment)
    if method.steps:
        training = replace(training, steps=method.steps, batch_size=BATCH, lr=RATE)
    options: dict[str, Any] = {"training": training, "seed": seed, "name": method.name}
    if method.objective == FIXMATCH:
        return workspace.finetune("student", objective=FIXMATCH, **options).path
    if method.objective == HEADS:
        pool, _, cross_task = method.teaching.partition("+")
        config = zoo.HeadsConfig("heads:cross_task=0.5" if cross_task else "heads", pool=pool, lam=method.lam)
        return workspace.distill(config=config, **options).path
    weighting = method.teaching or None
    if weighting == "averaged":
        weighting = f"file:{average_weights(workspace)}"
    return workspace.distill(weighting, lam=method.lam, **options).path


def average_weights(workspace: zoo.Workspace) -> Path:
    """A file of weights: those of p=12 for each replicate of the scores, averaged over the replicates."""
    names = [row.source for row in workspace.rank(weighting="p=12").rows if row.rank is not None]
    folder = workspace.root / "scores" / "parc"
    scores = {row.source: row for file in folder.glob("*.parquet") for row in load_scores(file)}
    replicates = np.array([scores[name].draws for name in names])
    weighting = specs.resolve("weighting", "p=12")
    weights = np.mean([weighting.function(replicate, names, True, **weighting.params) for replicate in replicates.T], 0)
    path = workspace.root / "averaged.json"
    rows = [{"source": name, "weight": float(weight)} for name, weight in zip(names, weights, strict=True)]
    files.write_json(path, {"sources": rows})
    return path


def measure_run(path: Path) -> dict[str, float]:
    stored = predictions.load_predictions(path)
    quality = flip_statistics.prediction_quality(stored.labels, stored.logits)
    return {"accuracy": quality.accuracy, "nll": quality.nll, "n": len(stored.labels)}


def measure_pool(workspace: zoo.Workspace, pool: str) -> dict[str, Any]:
    """The share of a pool's answers for the unlabelled images that are right, and its estimate with its interval."""
    record = workspace.pseudo_label(head="ridge", pool=pool)
    settings = workspace.config
    images = load_manifest(settings.manifest, settings.root)
    rows = images.where(split=("unlabelled",))
    folder = settings.pseudo_head(f"ridge-{specs.slug(pool)}")
    answers = feature_files.load_outputs(folder, ids=images.ids[rows], columns=("probs",), output="softmax").probs
    right = float((answers.argmax(axis=1) == images.truth()[rows]).mean())
    estimate = record.estimate
    return {
        "accuracy": right,
        "n": len(rows),
        "estimate": estimate.accuracy,
        "low": estimate.low,
        "high": estimate.high,
    }


class Results:
    """The finished rows of WORK/results.jsonl, one for each student and pool of each cell."""

    def __init__(self, work: Path):
        self.path = work / "results.jsonl"
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
        self.finished = {(row["pack"], row["labels"], row["draw"], row["student"], row["method"]) for row in self.rows}

    def has(self, cell: Cell, method: str) -> bool:
        return (cell.pack, cell.labels, cell.draw, cell.student, method) in self.finished

    def add(self, cell: Cell, method: str, values: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({**asdict(cell), "method": method, **values}) + "\n")


def run_cell(cell: Cell, methods: Sequence[Method], work: Path, results: Results, deadline: float) -> None:
    """Train and measure what is missing in one cell, until the deadline in the seconds of time.time()."""
    missing = [method for method in methods if not results.has(cell, method.name)]
    pools = [pool for pool in POOLS if cell.student == "scratch" and not results.has(cell, f"pool-{pool}")]
    if not missing and not pools:
        return
    workspace = zoo.Workspace(make_workspace(cell, work))
    workspace.split()
    link_features(cell, work)
    workspace.extract()
    for pool in pools:
        results.add(cell, f"pool-{pool}", measure_pool(workspace, pool))
    for method in missing:
        if time.time() > deadline:
            raise SystemExit("the time is over; the same command goes on")
        start = time.process_time()
        path = train_student(workspace, method, cell.draw)
        seconds = round(time.process_time() - start, 2)
        results.add(cell, method.name, {**asdict(method), **measure_run(path), "seconds": seconds})
    print(cell, flush=True)


def pretrain(work: Path) -> None:
    """Train the student that starts the "pretrained" cells."""
    workspace = zoo.Workspace(make_pretraining(work))
    workspace.split()
    training = zoo.TrainingConfig(steps=3000, batch_size=BATCH, lr=RATE, augment="crop")
    workspace.distill(lam=1, training=training, seed=0, name="student")


def parse_deadline(text: str | None) -> float:
    """Today's time HH:MM in the seconds of time.time()."""
    if text is None:
        return math.inf
    today = datetime.now()
    hours, minutes = map(int, text.split(":"))
    return today.replace(hour=hours, minute=minutes, second=0).timestamp()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("choose", "compare", "unflagged"))
    parser.add_argument("work", type=Path)
    parser.add_argument("--until", metavar="HH:MM")
    arguments = parser.parse_args()
    work, deadline = arguments.work.resolve(), parse_deadline(arguments.until)
    work.mkdir(parents=True, exist_ok=True)
    results = Results(work)
    if arguments.what == "choose":
        for cell in development_cells():
            run_cell(cell, GRID, work, results, deadline)
    elif arguments.what == "unflagged":
        for cell in all_cells():
            if (cell.draw, cell.student) == (0, "scratch"):
                run_cell(cell, UNFLAGGED, work, results, deadline)
    else:
        pretrain(work)
        for cell in all_cells():
            run_cell(cell, COMPARED[cell.student], work, results, deadline)


if __name__ == "__main__":
    main()
