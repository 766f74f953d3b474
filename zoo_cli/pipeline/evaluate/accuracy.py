"""`zoo evaluate accuracy`: how good the predictions of runs are."""

import statistics
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from zoo_cli import console
from zoo_cli.commands.options import HERE, Device, Format, Json, Workers, Workspace
from zoo_cli.pipeline.evaluate import named_runs, predictions

FIELDS = (
    console.Field("run"),
    console.Field("n", style=","),
    console.Field("accuracy", style="percent"),
    console.Field("balanced_accuracy", "balanced", "percent"),
    console.Field("top5", style="percent"),
    console.Field("nll", style=".4f"),
    console.Field("ece", style="percent"),
)


def accuracy(
    run: Annotated[
        list[str] | None, typer.Argument(help="Run folders, parquet files or models. Default: every run.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the rows to a .parquet or .json file.")] = None,
    device: Device = "auto",
    workers: Workers = None,
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """Accuracy, balanced accuracy, top-5, negative log-likelihood and calibration of stored predictions.

    A model, by its name in zoo.toml or as PROVIDER:NAME, is run on the test images once. Its classes are the task's.
    The mean of several runs stands below them: of `distill --each-source` that is what a source chosen blindly gives.

    zoo evaluate accuracy
    zoo evaluate accuracy runs/a theirs.parquet file:experts/b --json
    """
    from zoo_cli.evaluation import flip_statistics

    named_runs.check_out(out)
    reader = predictions.PredictionReader(workspace, device, workers)
    rows = []
    for text in run or named_runs.finished_runs(workspace):
        told = reader(text)
        rows.append(
            {
                "run": named_runs.display_name(text, workspace),
                **asdict(flip_statistics.prediction_quality(told.labels, told.logits)),
            }
        )
    named_runs.save_answer(out, "zoo.evaluate-accuracy/1", rows, rows)
    notes, meta = [], {}
    if len(rows) > 1:
        meta["mean_accuracy"] = statistics.mean(row["accuracy"] for row in rows)
        notes.append(f"the mean accuracy of these {len(rows)} is {console.percent(meta['mean_accuracy'])}")
    form = "json" if json else form
    console.answer("zoo.evaluate-accuracy/1", rows, FIELDS, form=form, meta=meta, notes=notes)
