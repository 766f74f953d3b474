"""Plots: what they draw for given arrays, at both widths, with names of anybody's making."""

from collections.abc import Callable
from xml.etree import ElementTree

import numpy as np
import pytest

from zoo_cli.report import figures, matrix_plot
from zoo_cli.report.classes_plot import plot_classes
from zoo_cli.report.curves_plot import Curve, list_quantities, plot_curves
from zoo_cli.report.figures import NARROW, WIDE, Figure, draw_svg, report_style, space_out
from zoo_cli.report.flips_plot import plot_flips
from zoo_cli.report.inline_svg import StyleSheet, inline_svg
from zoo_cli.report.interval_plot import IntervalPanel, IntervalRow, plot_intervals
from zoo_cli.report.matrix_plot import plot_matrix
from zoo_cli.report.reliability_plot import Reliability, plot_reliability
from zoo_cli.report.scatter_plot import Point, ScatterPanel, plot_scatter
from zoo_cli.report.theme import DARK, LIGHT
from zoo_cli.report.weights_plot import POWERS, plot_weights

NAMES = ("cat", "<b>$x$", "猫\u202e" + "y" * 10_000)


def draw(plot: Callable[[float], Figure], width: float = WIDE) -> str:
    with report_style():
        return draw_svg(plot(width))


def texts(svg: str) -> list[str]:
    """The texts of an SVG file."""
    return [node.text or "" for node in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


BINS = np.array([0, 3, 7])
PLOTS: dict[str, Callable[[float], Figure]] = {
    "intervals": lambda width: plot_intervals(
        [
            IntervalPanel("accuracy", [IntervalRow(name, 0.5, 0.4, 0.6) for name in NAMES]),
            IntervalPanel("difference", [IntervalRow(name, None) for name in NAMES], zero=True),
        ],
        width,
    ),
    "weights": lambda width: plot_weights(NAMES, np.full((len(POWERS), 3), 1 / 3), 2.0, width),
    "curves": lambda width: plot_curves([Curve(name, [1], {"loss": [0.5]}) for name in NAMES], width),
    "matrix": lambda width: plot_matrix(np.eye(3), NAMES, NAMES, ("true", "predicted"), width),
    "reliability": lambda width: plot_reliability(
        [Reliability(name, BINS, np.array([np.nan, 0.5, 0.9]), np.array([np.nan, 0.4, 1.0])) for name in NAMES[:2]],
        width,
    ),
    "flips": lambda width: plot_flips(NAMES, [3, 0, 1], [0, 2, 0], width),
    "scatter": lambda width: plot_scatter(
        [ScatterPanel("by time", "seconds", [Point(name, 3.0, 0.5) for name in NAMES], True)], width
    ),
    "classes": lambda width: plot_classes(NAMES, ("labelled", "test"), np.ones((2, 3), int), width),
}


@pytest.mark.parametrize("name", PLOTS)
def test_plots_draw_any_name_at_both_widths(name: str) -> None:
    for width in (WIDE, NARROW):
        svg = draw(PLOTS[name], width)
        shown = texts(svg)
        assert shown
        assert max(map(len, shown)) < 60
        assert "\u202e" not in svg


def test_intervals_show_every_name() -> None:
    shown = texts(draw(PLOTS["intervals"]))
    assert shown.count("cat") == 1, "panels beside each other share their names"
    assert texts(draw(PLOTS["intervals"], NARROW)).count("cat") == 2
    assert "<b>$x$" in shown


def test_flips_show_their_counts() -> None:
    assert {"+3", "+1", "−2", "← lost", "gained →"} <= set(texts(draw(PLOTS["flips"])))


def test_matrix_shows_numbers_where_there_is_room() -> None:
    numbers = np.array([["9", "1"], ["", "8"]], dtype=object)
    few = draw(lambda width: plot_matrix(np.eye(2), ["a", "b"], ["a", "b"], ("x", "y"), width, numbers))
    assert {"9", "1", "8"} <= set(texts(few))
    names = [f"c{i}" for i in range(40)]
    many = np.full((40, 40), "9", dtype=object)
    assert "9" not in texts(draw(lambda width: plot_matrix(np.eye(40), names, names, ("x", "y"), width, many)))


def test_matrix_shortens_names_visibly() -> None:
    names = ["labels-only", "a-run-with-a-long-name-s0"]
    shown = texts(draw(lambda width: plot_matrix(np.eye(2), names, names, ("x", "y"), width), NARROW))
    assert shown.count("labels-only") == 2
    assert not [text for text in shown if text.startswith("a-run") and "…" not in text]


@pytest.mark.parametrize("scheme", [LIGHT, DARK])
def test_numbers_stand_out_from_their_cells(scheme: dict[str, str]) -> None:
    colours = {value: scheme[name] for name, value in LIGHT.items()}
    paper, accent = _channels(scheme["paper"]), _channels(scheme["accent"])
    for opacity in {matrix_plot._opacity(share) for share in np.linspace(0.001, 1, 200)}:
        cell = _luminance(opacity * accent + (1 - opacity) * paper)
        number = _luminance(_channels(colours[matrix_plot._ink(opacity)]))
        assert (max(cell, number) + 0.05) / (min(cell, number) + 0.05) > 3.5


def _channels(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def _luminance(channels: np.ndarray) -> float:
    """The relative luminance of WCAG."""
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def test_names_of_weights_stay_beside_their_lines() -> None:
    weights = np.tile([0.5, 0.33, 0.15, 0.02, 0, 0, 0, 0], (len(POWERS), 1))
    with report_style():
        (axes,) = plot_weights([*"abcdefgh"], weights, None, WIDE).axes
    heights = {text.get_text(): text.xy[1] for text in axes.texts}
    assert heights["a"] == pytest.approx(0.5, abs=0.01)
    assert heights["b"] == pytest.approx(0.33, abs=0.01)
    assert heights["h"] < 0


def test_weights_name_the_power_in_use() -> None:
    assert "p = 2" in texts(draw(PLOTS["weights"]))
    without = draw(lambda width: plot_weights(NAMES, np.full((len(POWERS), 3), 1 / 3), None, width))
    assert not [text for text in texts(without) if text.startswith("p =")]


def test_curves_show_the_loss_first_and_at_most_six() -> None:
    values = {name: [0.1, 0.2] for name in "abcdefg"}
    curves = [Curve("run", [1, 2], {**values, "labelled_accuracy": [0.1, None], "loss": [1.0, 0.5]})]
    assert list_quantities(curves)[:2] == ["loss", "labelled_accuracy"]
    assert len(list_quantities(curves)) == 6


def test_many_classes_are_columns_without_names() -> None:
    names = [f"class {i}" for i in range(1000)]
    svg = draw(lambda width: plot_classes(names, ("labelled",), np.ones((1, 1000), int), width))
    assert not [text for text in texts(svg) if text.startswith("class ")]
    assert len(svg) < 60_000


def test_labels_keep_their_distance_and_order() -> None:
    placed = space_out([0.5, 0.0, 0.01, 0.02], 0.1)
    assert placed == pytest.approx([0.5, 0.0, 0.1, 0.2])
    assert space_out([0.9, 0.1], 0.1) == [0.9, 0.1]


def test_inline_svg_takes_the_colours_of_the_page() -> None:
    sheet = StyleSheet()
    svg = inline_svg(draw(PLOTS["flips"]), sheet, "p0-")
    assert "style=" not in svg
    assert "<metadata" not in svg
    assert "xlink" not in svg
    css = sheet.to_css()
    assert "var(--accent)" in css
    assert not [colour for colour in LIGHT.values() if colour in css]
    assert "font-family" not in css


def test_dark_and_light_have_the_same_colours() -> None:
    assert LIGHT.keys() == DARK.keys()
    assert len(set(LIGHT.values())) == len(LIGHT)
    assert LIGHT["paper"] == figures.PAPER
