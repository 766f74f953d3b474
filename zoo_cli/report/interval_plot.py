"""A value with its interval on each line: scores, accuracies, differences."""

from collections.abc import Sequence
from dataclasses import dataclass

from zoo_cli.report.figures import ROW, Axes, Figure, is_narrow, name_rows, new_figure, show_differences, show_percents
from zoo_cli.report.theme import ACCENT, CONTRAST, FAINT, INK, MUTED, SOFT

Number = float | None


@dataclass(frozen=True)
class IntervalRow:
    """A line: its name, a value and the ends of its interval, and a level that it is compared with; None if unknown.

    `strong`: drawn in the accent colour.
    """

    name: str
    value: Number
    low: Number = None
    high: Number = None
    level: Number = None
    strong: bool = False


@dataclass(frozen=True)
class IntervalPanel:
    """Lines on one axis. `zero`: a difference, whose sign matters; `percent`: shares."""

    title: str
    rows: Sequence[IntervalRow]
    zero: bool = False
    percent: bool = True


def plot_intervals(panels: Sequence[IntervalPanel], width: float) -> Figure:
    """Panels of the same lines: beside each other where there is room, else one below the other."""
    stacked = len(panels) > 1 and is_narrow(width)
    lines = len(panels[0].rows)
    figure = new_figure(width, (ROW * lines + 52) * (len(panels) if stacked else 1))
    shape = (len(panels), 1) if stacked else (1, len(panels))
    grid = figure.subplots(*shape, squeeze=False, sharey=not stacked)
    for number, (axes, panel) in enumerate(zip(grid.flat, panels, strict=True)):
        if stacked or not number:
            marked = next((i for i, row in enumerate(panel.rows) if row.strong), None)
            name_rows(axes, [row.name for row in panel.rows], width, marked)
        _draw_panel(axes, panel, width)
    return figure


def _draw_panel(axes: Axes, panel: IntervalPanel, width: float) -> None:
    if panel.zero:
        axes.axvline(0, color=SOFT, linewidth=1, zorder=1)
    for line, row in enumerate(panel.rows):
        if row.level is not None:
            axes.plot([row.level] * 2, [line - 0.32, line + 0.32], color=MUTED, linewidth=1.4, zorder=2)
        if row.value is None:
            continue
        colour = _colour(row, panel.zero)
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [line, line], color=colour, linewidth=2.2, alpha=0.55, zorder=3)
        axes.plot([row.value], [line], "o", color=colour, markersize=6.5, zorder=4)
    axes.set_title(panel.title)
    axes.grid(axis="x", color=FAINT)
    axes.spines["bottom"].set_visible(False)
    axes.locator_params(axis="x", nbins=4 if is_narrow(width) or panel.zero else 6)
    if panel.zero:
        show_differences(axes.xaxis)
    elif panel.percent:
        show_percents(axes.xaxis)


def _colour(row: IntervalRow, zero: bool) -> str:
    if zero and row.high is not None and row.high < 0:
        return CONTRAST
    if zero:
        return ACCENT if row.low is not None and row.low > 0 else MUTED
    return ACCENT if row.strong else INK
