"""Images gained and lost, by class."""

from collections.abc import Sequence

from zoo_cli.report.figures import ROW, Figure, name_rows, new_figure
from zoo_cli.report.theme import ACCENT, CONTRAST, SOFT


def plot_flips(classes: Sequence[str], gained: Sequence[int], lost: Sequence[int], width: float) -> Figure:
    """A line for each of C classes: counts gained to the right, counts lost to the left."""
    figure = new_figure(width, ROW * len(classes) + 34)
    axes = figure.subplots()
    name_rows(axes, classes, width)
    lines = range(len(classes))
    axes.barh(lines, gained, height=0.62, color=ACCENT)
    axes.barh(lines, [-count for count in lost], height=0.62, color=CONTRAST)
    for line, (more, fewer) in enumerate(zip(gained, lost, strict=True)):
        if more:
            axes.annotate(f"+{more:,}", (more, line), (4, 0), textcoords="offset points", va="center", color=ACCENT)
        if fewer:
            text = f"−{fewer:,}"
            axes.annotate(
                text, (-fewer, line), (-4, 0), textcoords="offset points", va="center", ha="right", color=CONTRAST
            )
    axes.axvline(0, color=SOFT, linewidth=1)
    largest = max([*gained, *lost, 1])
    axes.set_xlim(-max([*lost, 0.12 * largest]) - 0.16 * largest, max([*gained, 0.12 * largest]) + 0.16 * largest)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.annotate("← lost", (0, -0.75), (-8, 0), textcoords="offset points", va="center", ha="right", color=CONTRAST)
    axes.annotate("gained →", (0, -0.75), (8, 0), textcoords="offset points", va="center", color=ACCENT)
    axes.set_ylim(len(classes) - 0.4, -1.2)
    return figure
