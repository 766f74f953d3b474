"""Training curves: one panel for each quantity in the logs of runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zoo_cli.report.figures import Axes, Figure, is_narrow, new_figure, show_label, show_percents
from zoo_cli.report.theme import ACCENT, FAINT, INK, SOFT

MOST_POINTS = 300
MOST_PANELS = 6


@dataclass(frozen=True)
class Curve:
    """The log of a run: steps (M,) and, by quantity, values (M,), None where a row lacks it.

    `role`: "best", "reference" or "" of the other runs.
    """

    name: str
    steps: Sequence[int]
    values: Mapping[str, Sequence[float | None]]
    role: str = ""


def plot_curves(curves: Sequence[Curve], width: float) -> Figure:
    """A panel for each quantity; the best run and the reference stand out."""
    quantities = list_quantities(curves)
    columns = min(2 if is_narrow(width) else 3, len(quantities))
    lines = -(-len(quantities) // columns)
    figure = new_figure(width, (150 if is_narrow(width) else 180) * lines + 24)
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes, quantity in zip(grid.flat, quantities, strict=False):
        for curve in sorted(curves, key=lambda curve: ("", "reference", "best").index(curve.role)):
            if quantity in curve.values:
                _draw(axes, curve, quantity)
        axes.set_title(quantity.replace("_", " "), fontsize=10.5 if is_narrow(width) else 12)
        axes.grid(axis="y", color=FAINT)
        axes.locator_params(axis="x", nbins=3 if is_narrow(width) else 4)
        axes.locator_params(axis="y", nbins=5)
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
        if quantity.endswith("accuracy"):
            axes.set_ylim(top=1.02)
            show_percents(axes.yaxis)
    for axes in list(grid.flat)[len(quantities) :]:
        axes.set_visible(False)
    for axes in grid.flat:
        axes.xaxis.set_major_formatter(lambda step, _position: f"{step / 1000:g}k" if step >= 10_000 else f"{step:,g}")
    for axes in grid[-1]:
        axes.set_xlabel("step")
    named = [curve for curve in curves if curve.role]
    if named:
        handles = [_line(curve.role) for curve in named]
        texts = [show_label(curve.name, width) for curve in named]
        if len(named) < len(curves):
            handles, texts = [*handles, _line("")], [*texts, "other runs"]
        figure.legend(handles, texts, loc="outside upper left", ncols=1 if is_narrow(width) else 3)
    return figure


def list_quantities(curves: Sequence[Curve]) -> list[str]:
    """The quantities that are drawn: those of most runs, the loss first."""
    counts: dict[str, int] = {}
    for curve in curves:
        for key in curve.values:
            counts[key] = counts.get(key, 0) + 1
    order = sorted(counts, key=lambda key: (key != "loss", key != "labelled_accuracy", -counts[key]))
    return order[:MOST_PANELS]


def _draw(axes: Axes, curve: Curve, quantity: str) -> None:
    points = [(s, v) for s, v in zip(curve.steps, curve.values[quantity], strict=True) if v is not None]
    stride = max(1, -(-len(points) // MOST_POINTS))
    thinned = points[::stride] + (points[-1:] if (len(points) - 1) % stride else [])
    style = _style(curve.role)
    marker = "o" if len(thinned) == 1 else ""
    axes.plot([s for s, _ in thinned], [v for _, v in thinned], marker=marker, markersize=4, **style)


def _style(role: str) -> dict[str, object]:
    if role == "best":
        return {"color": ACCENT, "linewidth": 2.2, "zorder": 4}
    if role == "reference":
        return {"color": INK, "linewidth": 1.3, "dashes": (4, 2), "zorder": 3}
    return {"color": SOFT, "linewidth": 1.0, "alpha": 0.8, "zorder": 2}


def _line(role: str) -> object:
    from matplotlib.lines import Line2D

    return Line2D([], [], **_style(role))  # type: ignore[arg-type]
