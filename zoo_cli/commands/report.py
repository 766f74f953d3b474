"""`zoo report`: one page to look at."""

from pathlib import Path
from typing import Annotated

import typer

from zoo_cli import console
from zoo_cli.commands.options import HERE, Workspace


def report(
    workspaces: Annotated[
        list[Path] | None, typer.Argument(metavar="WORKSPACE", help="Workspaces. [default: that of -C]")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="File of the page. [default: report.html in the workspace, or in -C of several]",
        ),
    ] = None,
    plots: Annotated[
        Path | None, typer.Option("--plots", metavar="DIR", help="Write every plot to this folder, as SVG and PNG.")
    ] = None,
    workspace: Workspace = HERE,
) -> None:
    """Write one HTML page about workspaces.

    Task and images, ranking, weights, heads, training, accuracy, the images gained and lost, confusions, calibration,
    complementary knowledge and cost, as far as they are stored. The page is one file: it needs no network and no
    script, and names what is missing. Several workspaces are sections of one page. Needs the extra plot.

    zoo report
    zoo report --out pets.html --plots figures
    zoo report T/* --out targets.html
    """
    from zoo_cli.pipeline.report import FILE, ReportConfig, write_report

    places = tuple(workspaces or [workspace])
    default = places[0] / FILE if len(places) == 1 else workspace / FILE
    result = write_report(ReportConfig(places, out or default, plots))
    for place, texts in result.missing.items():
        for text in texts:
            console.say(f"missing: {text}" if len(places) == 1 else f"missing in {place}: {text}")
    if result.plots:
        console.say(f"wrote {len(result.plots):,} files of plots to {plots}")
    console.current().answer(str(result.path))
