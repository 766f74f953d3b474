"""`zoo evaluate accuracy`: how good the predictions of runs are."""

from pathlib import Path
from typing import Annotated

import typer

from zoo_cli import console
from zoo_cli.errors import UsageError
from zoo_cli.options import HERE, Format, Json, Workspace
from zoo_cli.stages.evaluate import answers, predictions

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
    run: Annotated[list[Path] | None, typer.Argument(help="Run folders or parquet files. Default: every run.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the rows to a .parquet or .json file.")] = None,
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """Accuracy, balanced accuracy, top-5, negative log-likelihood and calibration of stored predictions.

    zoo evaluate accuracy
    zoo evaluate accuracy runs/a theirs.parquet --json
    """
    from zoo_cli import flips

    found = list(run or []) or sorted(path.parent for path in (workspace / "runs").glob("*/predictions.parquet"))
    if not found:
        raise UsageError(f"no finished run in {workspace / 'runs'}", "zoo distill makes one")
    rows = []
    for path in found:
        told = predictions.read(answers.place(path, workspace))
        name = path.name if path.parent == workspace / "runs" else str(path)
        rows.append({"run": name, **flips.quality(told.labels, told.logits)})
    answers.keep(out, "zoo.evaluate-accuracy/1", rows, rows)
    console.answer("zoo.evaluate-accuracy/1", rows, FIELDS, form="json" if json else form)
