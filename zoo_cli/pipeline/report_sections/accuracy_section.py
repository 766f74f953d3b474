"""The section on the accuracy of the runs, and how far they differ from the first."""

from collections.abc import Iterator
from functools import partial

from zoo_cli.pipeline.evaluate.accuracy import AccuracyRow, SeedGroup
from zoo_cli.pipeline.report_sections.report_inputs import ReportInputs
from zoo_cli.report.blocks import Block, Column, Missing, Paragraph, Plot, Table
from zoo_cli.report.interval_plot import IntervalPanel, IntervalRow, plot_intervals
from zoo_cli.report.wording import (
    LEVEL,
    MISSING,
    quote_name,
    show_name,
    show_number,
    show_percent,
    show_points,
    show_range,
)

MOST = 60
"""The number of runs in the plot; the table has all."""


def accuracy_section(inputs: ReportInputs) -> Iterator[Block]:
    """The blocks of the section."""
    run_set = inputs.need_runs()
    for problem in run_set.broken[:5]:
        yield Missing(show_name(problem, 300))
    first, best = run_set.first, run_set.best
    yield Paragraph(_describe_best(first, best), "lead")
    ordered = sorted(run_set.accuracy.rows, key=lambda row: -row.accuracy)
    shown = ordered[:MOST]
    if first not in shown:
        shown = [*shown[:-1], first]
    panels = [
        IntervalPanel(
            "accuracy",
            [IntervalRow(r.run, r.accuracy, r.accuracy_low, r.accuracy_high, strong=r is best) for r in shown],
        )
    ]
    if any(row.comparison is not None for row in shown):
        panels.append(IntervalPanel("difference", [_difference_row(row, best) for row in shown], zero=True))
    yield Plot(
        "accuracy",
        f"Accuracy of {len(shown)} runs, from {show_percent(shown[-1].accuracy)} to {show_percent(shown[0].accuracy)}",
        f"Accuracy on {first.n:,} test images, and the difference from {quote_name(first.run)} on the same images, "
        f"with {LEVEL} intervals. Differences whose interval contains 0 are gray."
        + (f" {len(shown)} of {len(ordered)} runs." if len(shown) < len(ordered) else ""),
        partial(plot_intervals, panels),
    )
    yield _accuracy_table(ordered, best)
    if run_set.accuracy.seed_groups:
        yield _seed_table(run_set.accuracy.seed_groups)
    others = [row.run for row in ordered if row.run not in run_set.predicted]
    if others:
        names = ", ".join(show_name(name, 40) for name in others[:5])
        yield Paragraph(
            f"On other test images than {quote_name(first.run)}, and not compared with it: {names}.", "note"
        )


def _describe_best(first: AccuracyRow, best: AccuracyRow) -> str:
    text = (
        f"{quote_name(best.run)} is the most accurate: {show_percent(best.accuracy)} "
        f"({show_range(best.accuracy_low, best.accuracy_high)})"
    )
    if best.comparison is None:
        return f"{text}."
    difference = best.comparison.difference
    return (
        f"{text}, {show_points(difference.difference)} points against {quote_name(first.run)} "
        f"({show_points(difference.low)} to {show_points(difference.high)})."
    )


def _difference_row(row: AccuracyRow, best: AccuracyRow) -> IntervalRow:
    if row.comparison is None:
        return IntervalRow(row.run, None)
    difference = row.comparison.difference
    return IntervalRow(row.run, difference.difference, difference.low, difference.high, strong=row is best)


def _accuracy_table(rows: list[AccuracyRow], best: AccuracyRow) -> Table:
    columns = ["run", "accuracy", LEVEL, "difference", LEVEL, "p (Holm)", "balanced", "top 5", "nll", "ece"]
    lines = [_accuracy_cells(row) for row in rows]
    if len({row.n for row in rows}) > 1:
        columns.append("images")
        lines = [(*line, f"{row.n:,}") for line, row in zip(lines, rows, strict=True)]
    return Table(
        "All runs. Differences are in percentage points; p: McNemar's exact test, corrected for all runs",
        (Column(columns[0], False), *map(Column, columns[1:])),
        tuple(lines),
        frozenset(i for i, row in enumerate(rows) if row is best),
    )


def _accuracy_cells(row: AccuracyRow) -> tuple[str, ...]:
    compared = row.comparison
    difference = None if compared is None else compared.difference
    return (
        show_name(row.run),
        show_percent(row.accuracy),
        show_range(row.accuracy_low, row.accuracy_high),
        MISSING if difference is None else show_points(difference.difference),
        MISSING if difference is None else f"{show_points(difference.low)} to {show_points(difference.high)}",
        MISSING if compared is None else _show_p(compared.p_holm),
        show_percent(row.balanced_accuracy),
        show_percent(row.top5),
        show_number(row.nll),
        show_number(row.ece),
    )


def _show_p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _seed_table(groups: tuple[SeedGroup, ...]) -> Table:
    return Table(
        "Runs that differ only in their seed: the mean, with an interval over seeds and images",
        (Column("runs", False), Column("seeds"), Column("accuracy"), Column(LEVEL)),
        tuple(
            (
                show_name(", ".join(group.runs), 120),
                f"{len(group.seeds)}",
                show_percent(group.accuracy),
                show_range(group.accuracy_low, group.accuracy_high),
            )
            for group in groups
        ),
    )
