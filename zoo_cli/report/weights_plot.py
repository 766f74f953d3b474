"""The weights of the sources as the power of a weighting grows."""

from collections.abc import Sequence

import numpy as np

from zoo_cli.report.figures import Axes, Figure, is_narrow, new_figure, show_label, show_percents, space_out
from zoo_cli.report.theme import ACCENT, FAINT, INK, MUTED, SOFT

POWERS = (
    0.0,
    0.01,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    1.5,
    2.0,
    2.5,
    3.0,
    4.0,
    5.0,
    6.0,
    8.0,
    10.0,
    12.0,
    16.0,
    20.0,
    24.0,
    32.0,
)
TICKS = (0, 1, 2, 4, 8, 16, 32)
MOST = 8
"""How many sources are named: those that weigh most at some power."""
LEADER = 14.0
"""The length in CSS pixels of the lines that lead from the curves to their names."""
BELOW = -0.12
"""How far below 0 the names of lines that end there may stand."""


def plot_weights(names: Sequence[str], weights: np.ndarray, chosen: float | None, width: float) -> Figure:
    """Lines of S sources: weights (P, S) at POWERS; `chosen`: the power in use, if it is one."""
    figure = new_figure(width, 250 if is_narrow(width) else 290)
    axes = figure.subplots()
    places = np.log2(1 + np.array(POWERS))
    order = np.argsort(-weights.max(axis=0) - weights[-1], kind="stable")
    for line in order[::-1]:
        first, listed = line == order[0], line in order[:MOST]
        colour = ACCENT if first else INK if listed else SOFT
        axes.plot(places, weights[:, line], color=colour, linewidth=2.4 if first else 1.2, clip_on=False)
    if chosen is not None and np.isfinite(chosen) and chosen <= TICKS[-1]:
        place = float(np.log2(1 + chosen))
        axes.axvline(place, color=MUTED, linewidth=1, dashes=(3, 3))
        axes.annotate(f"p = {chosen:g}", (place, 1.0), (4, -2), textcoords="offset points", va="top", color=MUTED)
    _name_lines(axes, names, weights[-1], order[:MOST], width)
    axes.set_xticks(np.log2(1 + np.array(TICKS)), [str(tick) for tick in TICKS])
    axes.set_xlim(places[0], places[-1])
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_xlabel("power p: 0 weighs all alike, larger favours the best")
    axes.grid(axis="y", color=FAINT)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="y", colors=MUTED)
    show_percents(axes.yaxis)
    return figure


def _name_lines(axes: Axes, names: Sequence[str], ends: np.ndarray, order: np.ndarray, width: float) -> None:
    """Write the names at the right ends of the lines, from the top in the order of their weights."""
    heights = [float(ends[i]) for i in order]
    # Equal ends are named in the order of the largest weights.
    heights = [height - 1e-6 * position for position, height in enumerate(heights)]
    spaced = space_out(heights, 0.07, BELOW)
    for i, height in zip(order, spaced, strict=True):
        first = i == order[0]
        line = (1, float(ends[i])), (1 + LEADER / width, height)
        axes.plot(*zip(*line, strict=True), color=SOFT, linewidth=0.8, transform=axes.transAxes, clip_on=False)
        axes.annotate(
            show_label(names[i], width),
            (1 + LEADER / width, height),
            (3, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            va="center",
            color=ACCENT if first else INK,
            fontweight="bold" if first else "normal",
            annotation_clip=False,
        )
