"""The section on the course of training: the logs of the runs."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from zoo_cli.counts import count_things
from zoo_cli.errors import UsageError, ZooError
from zoo_cli.pipeline.report_sections.report_inputs import ReportInputs
from zoo_cli.report.blocks import Block, Missing, Paragraph, Plot
from zoo_cli.report.curves_plot import Curve, plot_curves
from zoo_cli.report.wording import show_name
from zoo_cli.store import files

NOT_DRAWN = ("step", "lr", "epoch", "seconds")


def training_section(inputs: ReportInputs) -> Iterator[Block]:
    """The blocks of the section."""
    roles = {}
    if inputs.run_set is not None:
        roles = {inputs.run_set.first.run: "reference", inputs.run_set.best.run: "best"}
    curves, problems = [], []
    for log in sorted((inputs.settings.root / "runs").glob("[!.]*/metrics.jsonl")):
        try:
            curve = _read_curve(log, roles.get(log.parent.name, ""))
        except ZooError as error:
            problems.append(Missing(show_name(error.message, 300), show_name(error.hint, 300)))
            continue
        if curve is not None:
            curves.append(curve)
    yield from problems
    if not curves:
        raise UsageError("no log of a training", "zoo distill trains a student")
    if inputs.run_set is not None and inputs.run_set.unfinished:
        names = ", ".join(show_name(name, 40) for name in inputs.run_set.unfinished[:5])
        yield Paragraph(f"{count_things(len(inputs.run_set.unfinished), 'run')} not finished: {names}.", "note")
    last = curves[0].steps[-1]
    yield Plot(
        "training",
        f"Training curves of {count_things(len(curves), 'run')}, the first to step {last:,}",
        "What the runs logged at each step. The most accurate run and the one that others are compared with stand out.",
        partial(plot_curves, curves),
    )


def _read_curve(log: Path, role: str) -> Curve | None:
    """The numbers of a log; None without any."""
    rows = [row for row in files.read_lines(log) if isinstance(row.get("step"), int)]
    keys = dict.fromkeys(key for row in rows for key in row if key not in NOT_DRAWN and _number(row, key) is not None)
    if not rows or not keys:
        return None
    values = {key: [_number(row, key) for row in rows] for key in keys}
    return Curve(log.parent.name, [row["step"] for row in rows], values, role)


def _number(row: Mapping[str, Any], key: str) -> float | None:
    value = row.get(key)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if number and abs(value) < float("inf") else None  # type: ignore[arg-type]
