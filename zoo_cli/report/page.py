"""The page as one HTML text: it needs no script, no network and no other file."""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from zoo_cli import __version__
from zoo_cli.errors import UsageError
from zoo_cli.report import figures, theme
from zoo_cli.report.blocks import Plot, Target
from zoo_cli.report.inline_svg import StyleSheet, inline_svg

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class PlotFiles:
    """A plot as files: its name without an ending, and its content as SVG and PNG."""

    name: str
    svg: str
    png: bytes


def check_packages() -> None:
    """Raise UsageError if a package of the extra `plot` is missing."""
    for module, package in (("matplotlib", "matplotlib"), ("jinja2", "Jinja2")):
        if find_spec(module) is None:
            raise UsageError(f"zoo report needs {package}", 'pip install "zoo-cli[plot]"')


def render_page(targets: Sequence[Target]) -> str:
    """The page of one target, or of several with a table of them. Every text is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    sheet = StyleSheet()
    drawings = {
        (plot, form): Markup(svg)  # of matplotlib, which escapes the names in it
        for number, plot in enumerate(list_plots(targets))
        for form, svg in _draw_twice(plot, sheet, f"p{number}")
    }
    style = style_sheet(sheet)
    names = [target.name for target in targets]
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        targets=targets,
        title=f"zoo report: {names[0]}" if len(names) == 1 else f"zoo report: {len(names)} targets",
        level=2 if len(names) == 1 else 3,
        drawings=drawings,
        style=Markup(style),  # no text of anybody's making is in it
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        version=__version__,
    )


def render_plots(targets: Sequence[Target]) -> Iterator[PlotFiles]:
    """Every plot, drawn wide, as it may stand in an article."""
    for plot in list_plots(targets):
        with figures.report_style():
            figure = plot.draw(figures.WIDE)
            figure.set_facecolor(theme.PAPER)
            yield PlotFiles(plot.name, figures.draw_svg(figure), figures.draw_png(figure))


def list_plots(targets: Sequence[Target]) -> list[Plot]:
    """The plots of all targets, in the order of the page."""
    return [
        block
        for target in targets
        for section in target.sections
        for block in section.blocks
        if isinstance(block, Plot)
    ]


def style_sheet(sheet: StyleSheet) -> str:
    """The style of the page: light, dark where the reader prefers it, and light on paper."""
    light, dark = theme.declare_variables(theme.LIGHT), theme.declare_variables(theme.DARK)
    return (
        f"\n:root{{color-scheme:light dark;{light}}}\n"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
        f"{(FOLDER / 'page.css').read_text(encoding='utf-8')}{sheet.to_css()}\n"
    )


def _draw_twice(plot: Plot, sheet: StyleSheet, prefix: str) -> Iterator[tuple[str, str]]:
    for form, width in (("wide", figures.WIDE), ("narrow", figures.NARROW)):
        with figures.report_style():
            text = figures.draw_svg(plot.draw(width))
        yield form, inline_svg(text, sheet, f"{prefix}{form[0]}-")
