"""`zoo demo`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from zoo_cli import console
from zoo_cli.answer_tables import Field, show_answer

FIELDS = (
    Field("student"),
    Field("n", style=","),
    Field("accuracy", style="percent"),
    Field("gained", style=","),
    Field("lost", style=","),
)
NOTE = "gained: test images that labels-only has wrong and this student right; lost: the reverse; n: all test images"


def demo(
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder to work in, which is kept. [default: a new temporary one]"),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Random seed.")] = 0,
) -> None:
    """Run the pipeline on handwritten digits.

    Four sources are trained on drawn images, a student learns from the labels alone and from them in four ways, and
    the students are compared. Every command is printed before its output. It takes about a minute, without a network.

    zoo demo
    zoo demo --out demo --seed 1
    """
    from zoo_cli.pipeline.demo import run_demo

    rows = run_demo(out, seed)
    console.current().answer("\n")
    show_answer("zoo.demo/1", [asdict(row) for row in rows], FIELDS, form=None, notes=[NOTE])
