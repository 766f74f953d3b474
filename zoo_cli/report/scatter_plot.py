"""Points with names: scores against accuracies, accuracies against cost."""

from collections.abc import Sequence
from dataclasses import dataclass

from zoo_cli.report.figures import Axes, Figure, is_narrow, new_figure, show_label, show_percents
from zoo_cli.report.theme import ACCENT, FAINT, INK, MUTED

MOST_NAMES = 14


@dataclass(frozen=True)
class Point:
    """A point: its name, its place, and the ends of the interval of its accuracy, None without one."""

    name: str
    x: float
    accuracy: float
    low: float | None = None
    high: float | None = None
    strong: bool = False


@dataclass(frozen=True)
class ScatterPanel:
    """Points on two axes. `logarithmic`: the horizontal one; `subtitle`: a remark beside the title."""

    title: str
    x_title: str
    points: Sequence[Point]
    logarithmic: bool = False


def plot_scatter(panels: Sequence[ScatterPanel], width: float) -> Figure:
    """A panel each: two beside each other where there is room."""
    columns = 1 if is_narrow(width) else min(2, len(panels))
    lines = -(-len(panels) // columns)
    figure = new_figure(width, (270 if len(panels) > 1 else 320) * lines)
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        _draw_panel(axes, panel, width if columns == 1 else width / 2)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    return figure


def _draw_panel(axes: Axes, panel: ScatterPanel, width: float) -> None:
    if panel.logarithmic:
        axes.set_xscale("log")
    for point in panel.points:
        colour = ACCENT if point.strong else INK
        if point.low is not None and point.high is not None:
            axes.plot([point.x] * 2, [point.low, point.high], color=colour, linewidth=1.6, alpha=0.45)
        axes.plot([point.x], [point.accuracy], "o", color=colour, markersize=6.5, alpha=1 if point.strong else 0.85)
    named = panel.points if len(panel.points) <= MOST_NAMES else [point for point in panel.points if point.strong]
    axes.margins(x=0.12, y=0.16)
    for point in named:
        place = axes.transLimits.transform(axes.transScale.transform((point.x, point.accuracy)))[0]
        right = place > 0.6
        axes.annotate(
            show_label(point.name, width),
            (point.x, point.accuracy),
            (-7 if right else 7, 0),
            textcoords="offset points",
            ha="right" if right else "left",
            va="center",
            fontsize=10.5,
            color=ACCENT if point.strong else MUTED,
        )
    axes.set_title(panel.title)
    axes.set_xlabel(panel.x_title)
    axes.set_ylabel("accuracy")
    axes.grid(color=FAINT)
    axes.tick_params(axis="y", colors=MUTED)
    show_percents(axes.yaxis)
    if not panel.logarithmic:
        axes.locator_params(axis="x", nbins=5)
    axes.locator_params(axis="y", nbins=6)
