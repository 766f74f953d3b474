"""How many images each class has, and in which part."""

from collections.abc import Sequence

import numpy as np

from zoo_cli.report.figures import ROW, Axes, Figure, is_narrow, name_rows, new_figure
from zoo_cli.report.theme import ACCENT, FAINT, MUTED, SOFT

NAMED = 40
"""Up to this number of classes each has a line with its name."""
MOST_COLUMNS = 200
"""Of more classes, so many are drawn, evenly spread by size."""
COLOURS = (ACCENT, SOFT, MUTED)


def plot_classes(names: Sequence[str], parts: Sequence[str], counts: np.ndarray, width: float) -> Figure:
    """Counts (P, C) of each part and class, stacked: lines with names, or for many classes columns by size."""
    if len(names) > NAMED:
        return _plot_sizes(parts, counts, width)
    figure = new_figure(width, ROW * len(names) + 56)
    axes = figure.subplots()
    name_rows(axes, names, width)
    before = np.zeros(len(names))
    for part, row, colour in zip(parts, counts, COLOURS[: len(parts)], strict=True):
        axes.barh(range(len(names)), row, left=before, height=0.62, color=colour, label=part)
        before = before + row
    _finish(figure, axes, "x")
    return figure


def _plot_sizes(parts: Sequence[str], counts: np.ndarray, width: float) -> Figure:
    figure = new_figure(width, 200 if is_narrow(width) else 220)
    axes = figure.subplots()
    classes = counts.shape[1]
    columns = np.linspace(0, classes - 1, min(classes, MOST_COLUMNS)).round().astype(int)
    ordered = counts[:, np.argsort(-counts.sum(axis=0), kind="stable")][:, columns]
    before = np.zeros(len(columns))
    edges = np.linspace(0, classes, len(columns) + 1)
    for part, row, colour in zip(parts, ordered, COLOURS[: len(parts)], strict=True):
        axes.stairs(before + row, edges, baseline=before, fill=True, color=colour, label=part)
        before = before + row
    axes.set_xlim(0, classes)
    axes.set_xlabel("classes, the largest first")
    _finish(figure, axes, "y")
    return figure


def _finish(figure: Figure, axes: Axes, axis: str) -> None:
    axes.grid(axis=axis, color=FAINT)
    axes.locator_params(axis=axis, nbins=5)
    axes.tick_params(axis=axis, colors=MUTED)
    axes.spines["bottom"].set_visible(False)
    figure.legend(loc="outside upper left", ncols=3, handlelength=0.9, handleheight=0.9)
