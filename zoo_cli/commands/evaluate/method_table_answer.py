"""What `zoo evaluate accuracy --by` prints.

A terminal and Markdown show a table of accuracies and one of gains, a row for each method or source and a column for
each target; csv, tsv and --out FILE.parquet hold a row for each of these cells, see `method_table.Cell`. --json and
--out FILE.json hold three lists: `rows`, see `MethodRow`; `cells`; and `targets`.
"""

from dataclasses import asdict
from pathlib import Path

from zoo_cli.answer_tables import Field, Grid
from zoo_cli.commands.evaluate.answers import Row, print_answer
from zoo_cli.commands.evaluate.difference_text import format_gain
from zoo_cli.evaluation.methods import LABELS
from zoo_cli.pipeline.evaluate.method_table import Cell, MethodTable

GAIN = ("gain", "gain_low", "gain_high", "gain_seeds", "gain_paired")
TYPES = {"deviation": "double", **dict.fromkeys(GAIN[:3], "double"), "gain_seeds": "int64", "gain_paired": "bool"}
CELL_FIELDS = ("name", "target", "n", "runs", "seeds", "accuracy", "deviation", *GAIN)


def print_method_table(result: MethodTable, out: Path | None, form: str | None) -> None:
    """Accuracies and gains, every row on every target."""
    sizes = {target.name: target.n for target in result.targets}
    cells = [_flatten(cell, sizes[cell.target]) for cell in result.cells]
    targets = [{"target": target.name, "workspace": str(target.workspace), "n": target.n} for target in result.targets]
    print_answer(
        "zoo.evaluate-accuracy-by/1",
        {"rows": [asdict(row) for row in result.rows], "cells": cells, "targets": targets},
        [Field(key, result.by if key == "name" else "") for key in CELL_FIELDS],
        rows=cells,
        out=out,
        form=form,
        meta={"by": result.by, "baseline": result.baseline, "shared": dict(result.shared)},
        notes=_notes(result),
        types=TYPES,
        grids=_grids(result),
    )


def _flatten(cell: Cell, n: int) -> Row:
    gain = cell.gain
    values = (gain.gain, gain.low, gain.high, gain.seeds, gain.paired) if gain is not None else (None,) * len(GAIN)
    own = {"name": cell.row, "target": cell.target, "n": n, "runs": cell.runs, "seeds": len(cell.seeds)}
    return {**own, "accuracy": cell.accuracy, "deviation": cell.deviation, **dict(zip(GAIN, values, strict=True))}


def _grids(result: MethodTable) -> list[Grid]:
    name = Field("name", result.by)
    columns = [Field(target.name, style=">") for target in result.targets]
    accuracies, gains = [], []
    for row in result.rows:
        cells = {cell.target: cell for cell in result.cells if cell.row == row.name}
        mean = f"{100 * row.accuracy:.1f}" + (f" ({row.targets})" if row.targets < len(result.targets) else "")
        sizes = {
            "parameters": None if row.parameters is None else f"{row.parameters / 1e6:.3g}",
            "macs": None if row.macs is None else f"{row.macs / 1e9:.3g}",
        }
        shown = {target: _accuracy_text(cell) for target, cell in cells.items()}
        accuracies.append({"name": row.name, **shown, "mean": mean, **sizes})
        if row.gain is not None:
            texts = {
                target: format_gain(cell.gain.gain, cell.gain.low, cell.gain.high)
                for target, cell in cells.items()
                if cell.gain is not None
            }
            gains.append({"name": row.name, **texts, "mean": format_gain(row.gain, row.gain_low, row.gain_high)})
    several = [Field("mean", style=">")] if len(columns) > 1 else []
    size = [Field("parameters", "M params", ">"), Field("macs", "GMACs", ">")]
    differ = len({(row.parameters, row.macs) for row in result.rows}) > 1
    grids = [Grid("accuracy, %", accuracies, (name, *columns, *several, *(size if differ else ())))]
    if gains:
        title = f"gain over {result.baseline}, points, 90 % interval"
        grids.append(Grid(title, gains, (name, *columns, *several)))
    return grids


def _accuracy_text(cell: Cell) -> str:
    """`84.3 ± 1.2`; with the number of seeds where it has fewer than others."""
    spread = "" if cell.deviation is None else f" ± {100 * cell.deviation:.1f}"
    return f"{100 * cell.accuracy:.1f}{spread}" + (f" [{len(cell.seeds)}]" if cell.fewer else "")


def _notes(result: MethodTable) -> list[str]:
    notes = []
    most = max(len(cell.seeds) for cell in result.cells)
    if most > 1:
        notes.append(f"mean ± standard deviation over {most} seeds")
    if any(cell.fewer for cell in result.cells):
        notes.append("[N]: N seeds, fewer than the others of this target")
    if any(row.targets < len(result.targets) for row in result.rows):
        notes.append(f"(T): a mean over T of the {len(result.targets)} targets")
    gains = [cell.gain for cell in result.cells if cell.gain is not None]
    if gains:
        over = "seeds and test images" if any(gain.seeds > 1 for gain in gains) else "test images"
        notes.append(
            f"gains are paired by {'seed and ' if all(gain.paired for gain in gains) else ''}image; "
            f"intervals cover the choice of {over}"
            + (", those of the mean that of targets" if len(result.targets) > 1 else "")
        )
    if len({row.settings.get(LABELS) for row in result.rows}) > 1 and gains:
        notes.append("gains of a label set are over the baseline on its own labels")
    images = ", ".join(f"{target.name} {target.n:,}" for target in result.targets)
    notes.append(f"test images: {images}")
    first = result.rows[0]
    if first.parameters is not None and first.macs is not None:
        size = f"{first.parameters / 1e6:.3g} million parameters, {first.macs / 1e9:.3g} GMACs"
        if len({(row.parameters, row.macs) for row in result.rows}) == 1:
            notes.append(f"every student: {size}")
    if result.shared:
        notes.append("all: " + ", ".join(f"{key} {value}" for key, value in result.shared.items()))
    return notes
