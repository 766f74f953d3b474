"""What `zoo evaluate accuracy` prints.

--json and --out hold a row for each run, see `AccuracyRow`, with its comparison in columns of their own, undefined for
the first run. `meta` of --json holds the mean accuracy of several, and the groups of seeds, see `SeedGroup`.
"""

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from zoo_cli import console
from zoo_cli.answer_tables import Field
from zoo_cli.commands.evaluate.answers import Row, print_answer
from zoo_cli.commands.evaluate.difference_text import INTERVALS, TEST, format_accuracy, format_difference
from zoo_cli.evaluation.accuracy_intervals import Interval
from zoo_cli.pipeline.evaluate.accuracy import AccuracyResult, AccuracyRow, Comparison, SeedGroup
from zoo_cli.quantities import percent

RUN, N = Field("run"), Field("n", style=",")
ACCURACY = Field("accuracy", style="percent")
INTERVAL = Field("interval", "90 %", ">")
MEASURES = (
    Field("balanced_accuracy", "balanced", "percent"),
    Field("top5", style="percent"),
    Field("nll", style=".3f"),
    Field("ece", style="percent"),
)
COMPARISON = ("baseline", "difference", "difference_low", "difference_high", "p_value", "p_holm")
TYPES = {"top5": "double", **dict.fromkeys(COMPARISON, "double"), "baseline": "string"}


def print_accuracy(result: AccuracyResult, out: Path | None, form: str | None) -> None:
    """A row per run; below them the differences from the first, the mean accuracy and those of several seeds."""
    rows = [_flatten(row) for row in result.rows]
    table = [row | {"interval": f"{100 * row['accuracy_low']:.1f}-{100 * row['accuracy_high']:.1f}"} for row in rows]
    meta: dict[str, Any] = {}
    if len(rows) > 1:
        meta["mean_accuracy"] = statistics.mean(row.accuracy for row in result.rows)
    if result.seed_groups:
        meta["seed_groups"] = [asdict(group) for group in result.seed_groups]
    print_answer(
        "zoo.evaluate-accuracy/1",
        rows,
        _fields(form, result.rows),
        rows=rows,
        table=table,
        out=out,
        form=form,
        notes=_notes(result, meta.get("mean_accuracy")),
        meta=meta,
        types=TYPES,
    )


def _fields(form: str | None, rows: Sequence[AccuracyRow]) -> tuple[Field, ...]:
    """Every value in a file; 80 columns on a terminal, where a number of images that all share stands below."""
    if form in ("csv", "tsv") or (form is None and not console.current().out.isatty()):
        return (RUN, N, ACCURACY, *MEASURES, *map(Field, ("accuracy_low", "accuracy_high", *COMPARISON)))
    shared = form != "md" and len({row.n for row in rows}) == 1
    return (RUN, *(() if shared else (N,)), ACCURACY, INTERVAL, *MEASURES)


def _notes(result: AccuracyResult, mean: float | None) -> list[str]:
    sizes = sorted({row.n for row in result.rows})
    images = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    compared = [(row.run, row.comparison) for row in result.rows if row.comparison is not None]
    notes = [f"against {result.rows[0].run}, on the same images:"] if compared else []
    notes += [_describe(run, comparison, several=len(compared) > 1) for run, comparison in compared]
    if mean is not None:
        notes.append(f"mean accuracy of these {len(result.rows)}: {percent(mean)}")
    notes += [_describe_group(group) for group in result.seed_groups]
    notes.append(f"n = {images}; {INTERVALS}")
    if compared:
        notes.append(TEST + (f", corrected for {len(compared)} comparisons (Holm)" if len(compared) > 1 else ""))
    return notes


def _flatten(row: AccuracyRow) -> Row:
    values = asdict(row)
    del values["comparison"]
    if row.comparison is None:
        return values | dict.fromkeys(COMPARISON)
    difference = row.comparison.difference
    numbers = (difference.difference, difference.low, difference.high, difference.p_value)
    return values | dict(zip(COMPARISON, (row.comparison.baseline, *numbers, row.comparison.p_holm), strict=True))


def _describe(run: str, comparison: Comparison, *, several: bool) -> str:
    text = format_difference(comparison.difference, comparison.p_holm if several else None)
    return f"{run}: {text}"


def _describe_group(group: SeedGroup) -> str:
    accuracy = format_accuracy(group.accuracy, Interval(group.accuracy_low, group.accuracy_high))
    return f"{len(group.seeds)} seeds of {group.runs[0]}: mean accuracy {accuracy} over seeds and test images"
