"""A matrix of shares as shaded cells: confusions of classes, and what one model knows that another does not."""

from collections.abc import Sequence

import numpy as np

from zoo_cli.report.figures import Axes, Figure, is_narrow, new_figure
from zoo_cli.report.theme import ACCENT, CELL, FAINT, INK, MUTED, PAPER
from zoo_cli.report.wording import show_name

LEVELS = 20
"""The number of shades."""
FAINTEST, STRONGEST = 0.12, 0.92
EDGE = 0.47
"""Half of the side of a cell."""
HALF, STRONG = 0.62, 0.78
"""From these opacities on the numbers in cells are CELL, and PAPER: their contrast with the cell is 3.5 at least."""


def plot_matrix(
    values: np.ndarray,
    lines: Sequence[str],
    columns: Sequence[str],
    titles: tuple[str, str],
    width: float,
    texts: np.ndarray | None = None,
    *,
    top: float = 1.0,
    marked: int | None = None,
) -> Figure:
    """Cells (R, C) of values in [0, top], None drawn where NaN; `texts` (R, C) in the cells where there is room.

    `titles`: of the lines and of the columns.
    """
    rows, count = values.shape
    label = 80 if is_narrow(width) else 130
    side = max(9.0, min(46.0, (width - label) / count))
    figure = new_figure(width, side * rows * (0.72 if side > 36 else 1.0) + (90 if is_narrow(width) else 110))
    axes = figure.subplots()
    size = 11.5 if side >= 19 else max(5.0, side * 0.62)
    _draw_cells(axes, values / top if top > 0 else values, texts if side >= 25 else None, min(size, 11.0))
    longest = 12 if is_narrow(width) else 20
    titles_above = [show_name(each, longest) for each in columns]
    fits = max(map(len, titles_above), default=0) * size * 0.62 < (width - label) / count
    axes.set_xticks(range(count), titles_above, rotation=0 if fits else 90, fontsize=size)
    axes.set_yticks(range(rows), [show_name(each, longest + 2) for each in lines], fontsize=size)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set(xlim=(-0.5, count - 0.5), ylim=(rows - 0.5, -0.5))
    axes.set_ylabel(titles[0])
    axes.set_xlabel(titles[1], labelpad=8)
    axes.tick_params(axis="x", colors=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if marked is not None:
        for label_text in (axes.get_yticklabels()[marked], axes.get_xticklabels()[marked]):
            label_text.set_color(ACCENT)
            label_text.set_fontweight("bold")
    return figure


def _draw_cells(axes: Axes, shares: np.ndarray, texts: np.ndarray | None, size: float) -> None:
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import to_rgba

    corners = np.array([(-EDGE, -EDGE), (EDGE, -EDGE), (EDGE, EDGE), (-EDGE, EDGE)])
    cells = [(line, column) for line, column in np.ndindex(*shares.shape) if np.isfinite(shares[line, column])]
    opacities = [_opacity(float(shares[cell])) for cell in cells]
    colours = [to_rgba(ACCENT, opacity) if opacity else to_rgba(FAINT, 0.3) for opacity in opacities]
    shapes = [np.add(corners, (column, line)) for line, column in cells]
    axes.add_collection(PolyCollection(shapes, facecolors=colours, linewidths=0), autolim=False)
    if texts is None:
        return
    for (line, column), opacity in zip(cells, opacities, strict=True):
        if texts[line, column]:
            axes.text(column, line, texts[line, column], ha="center", va="center", fontsize=size, color=_ink(opacity))


def _ink(opacity: float) -> str:
    """The colour of a number on a cell."""
    if opacity >= HALF:
        return PAPER if opacity >= STRONG else CELL
    return INK if opacity else MUTED


def _opacity(share: float) -> float:
    """The opacity of a cell, one of LEVELS; 0 for an empty one."""
    if share <= 0:
        return 0.0
    return max(FAINTEST, round(min(1.0, share) * LEVELS) / LEVELS * STRONGEST)
