"""Reliability diagrams: how often predictions of a confidence are right."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from zoo_cli.report.figures import Axes, Figure, is_narrow, new_figure, show_label, show_percents
from zoo_cli.report.theme import ACCENT, FAINT, INK, MUTED, SOFT


@dataclass(frozen=True, eq=False)
class Reliability:
    """A run by bins of confidence (B,): their counts, and mean confidence and accuracy, NaN where a bin is empty."""

    name: str
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    strong: bool = False


def plot_reliability(runs: Sequence[Reliability], width: float) -> Figure:
    """Accuracy against confidence, with the diagonal of perfect calibration; below, the share of images in each bin."""
    columns = 1 if is_narrow(width) else len(runs)
    lines = len(runs) if is_narrow(width) else 1
    figure = new_figure(width, 300 * lines)
    parts = figure.subfigures(lines, columns, squeeze=False)
    for part, run in zip(parts.flat, runs, strict=False):
        upper, lower = part.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        _draw_run(upper, lower, run)
        upper.set_title(show_label(run.name, width), color=ACCENT if run.strong else INK)
    return figure


def _draw_run(upper: Axes, lower: Axes, run: Reliability) -> None:
    colour = ACCENT if run.strong else MUTED
    filled = run.counts > 0
    upper.plot([0, 1], [0, 1], color=SOFT, linewidth=1, dashes=(3, 3))
    upper.fill_between(
        run.confidence[filled], run.accuracy[filled], run.confidence[filled], color=colour, alpha=0.16, linewidth=0
    )
    upper.plot(run.confidence[filled], run.accuracy[filled], color=colour, linewidth=1, alpha=0.5)
    sizes = 14 + 130 * np.sqrt(run.counts[filled] / run.counts.sum())
    upper.scatter(run.confidence[filled], run.accuracy[filled], s=sizes, color=colour, linewidth=0, zorder=3)
    edges = np.linspace(0, 1, len(run.counts) + 1)
    heights = run.counts / max(1, run.counts.sum())
    lower.bar(edges[:-1], heights, width=1 / len(run.counts) * 0.9, align="edge", color=colour, alpha=0.6)
    for axes in (upper, lower):
        axes.set_xlim(0, 1)
        axes.grid(axis="y", color=FAINT)
        axes.tick_params(axis="y", colors=MUTED)
        show_percents(axes.yaxis)
        show_percents(axes.xaxis)
    upper.set_ylim(-0.03, 1.04)
    upper.set_ylabel("right")
    lower.set_xlabel("confidence")
    lower.set_ylabel("images")
    lower.set_yticks([0, float(np.ceil(heights.max() * 10) / 10)])
