"""Figures of matplotlib in the style of the report, as SVG and PNG that are equal for equal input."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from zoo_cli.report.theme import ACCENT, FAINT, INK, MUTED, PAPER
from zoo_cli.report.wording import PERCENT, show_name

Figure = Any
"""matplotlib.figure.Figure: matplotlib is an optional package, and is imported where a figure is made."""
Axes = Any
"""matplotlib.axes.Axes."""

WIDE, NARROW = 800.0, 336.0
"""The widths in CSS pixels at which the page shows a plot: one of them, as there is room."""
ROW = 21.0
"""The height of a line of a plot that has a name on each."""
POINTS_PER_INCH = 72.0
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "zoo report",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 11.5,
    "text.color": INK,
    "axes.facecolor": "none",
    "axes.edgecolor": FAINT,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 11.5,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8.0,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.unicode_minus": True,
    "axes.formatter.useoffset": False,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    "lines.solid_capstyle": "round",
    "patch.linewidth": 0.0,
}


@contextmanager
def report_style() -> Iterator[None]:
    """The style of the report. Names in scripts that matplotlib has no glyphs for are drawn by the browser."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*")
        warnings.filterwarnings("ignore", message=".*constrained_layout.*")
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in CSS pixels."""
    from matplotlib.figure import Figure as NewFigure

    figure = NewFigure(figsize=(width / POINTS_PER_INCH, height / POINTS_PER_INCH))
    figure.set_layout_engine("constrained", h_pad=5 / POINTS_PER_INCH)
    return figure


def draw_svg(figure: Figure) -> str:
    """A figure as the text of an SVG file."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    stream = io.StringIO()
    # Figure.savefig draws everything once more beforehand.
    canvas: Any = FigureCanvasSVG(figure)
    canvas.print_svg(stream, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return stream.getvalue()


def draw_png(figure: Figure) -> bytes:
    """A figure as PNG, on paper."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=2 * POINTS_PER_INCH, facecolor=PAPER, metadata={"Software": None})
    return stream.getvalue()


def is_narrow(width: float) -> bool:
    """Whether a plot is drawn for a small screen."""
    return width < (WIDE + NARROW) / 2


def show_label(name: object, width: float) -> str:
    """A name beside a plot of this width."""
    return show_name(name, 14 if is_narrow(width) else 30)


def name_rows(axes: Axes, names: Sequence[str], width: float, marked: int | None = None) -> None:
    """Let the lines of a plot have names, the first at the top."""
    axes.set_yticks(range(len(names)), [show_label(name, width) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    if marked is not None:
        label = axes.get_yticklabels()[marked]
        label.set_color(ACCENT)
        label.set_fontweight("bold")


def show_percents(axis: Any) -> None:
    """Let an axis of shares show percent."""
    axis.set_major_formatter(lambda share, _position: f"{_whole(100 * share)}{PERCENT}")


def show_differences(axis: Any) -> None:
    """Let an axis of differences of shares show percentage points with their signs."""
    axis.set_major_formatter(lambda share, _position: f"{_whole(100 * share):+g}".replace("-", "−").replace("+0", "0"))


def _whole(number: float) -> float:
    """A number of an axis without the noise of its last bits, and whole where it is."""
    rounded = round(float(number), 4)
    return int(rounded) if rounded == int(rounded) else rounded


def space_out(positions: Sequence[float], gap: float, low: float = 0.0) -> list[float]:
    """Positions moved apart as little as it takes for labels at them to be at least `gap` from each other.

    None is below `low`.
    """
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    placed: list[list[float]] = []  # groups of labels that touch: [sum of wishes, number]
    for i in order:
        placed.append([positions[i], 1.0])
        while len(placed) > 1 and _start(placed[-1], gap, low) < _start(placed[-2], gap, low) + gap * placed[-2][1]:
            wishes, count = placed.pop()
            placed[-1][0] += wishes
            placed[-1][1] += count
    moved = [_start(group, gap, low) + k * gap for group in placed for k in range(int(group[1]))]
    result = [0.0] * len(order)
    for i, position in zip(order, moved, strict=True):
        result[i] = position
    return result


def _start(group: Sequence[float], gap: float, low: float) -> float:
    return max(low, group[0] / group[1] - gap * (group[1] - 1) / 2)
