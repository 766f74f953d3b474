"""What `zoo evaluate accuracy` prints."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from zoo_cli import console
from zoo_cli.commands.evaluate.answers import print_answer
from zoo_cli.pipeline.evaluate.accuracy import AccuracyRow

FIELDS = (
    console.Field("run"),
    console.Field("n", style=","),
    console.Field("accuracy", style="percent"),
    console.Field("balanced_accuracy", "balanced", "percent"),
    console.Field("top5", style="percent"),
    console.Field("nll", style=".4f"),
    console.Field("ece", style="percent"),
)


def print_accuracy(results: Sequence[AccuracyRow], out: Path | None, form: str | None) -> None:
    """A row per run; the mean accuracy of several below them."""
    rows = [asdict(row) for row in results]
    notes, meta = [], {}
    if len(results) > 1:
        mean = statistics.mean(row.accuracy for row in results)
        meta["mean_accuracy"] = mean
        notes.append(f"mean accuracy of these {len(results)}: {console.percent(mean)}")
    print_answer("zoo.evaluate-accuracy/1", rows, FIELDS, rows=rows, out=out, form=form, notes=notes, meta=meta)
