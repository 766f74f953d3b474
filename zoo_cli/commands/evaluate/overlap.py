"""`zoo evaluate overlap`."""

from dataclasses import asdict
from typing import Annotated

import typer

from zoo_cli import console
from zoo_cli.commands.evaluate.answers import print_answer
from zoo_cli.commands.evaluate.out_option import Out, check_out
from zoo_cli.commands.options import HERE, Format, Json, Strict, Workspace

FIELDS = (
    console.Field("source"),
    console.Field("n", style=","),
    console.Field("seen", style=">"),
    console.Field("example"),
)


def overlap(
    model: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL", help="Sources, PROVIDER:NAME or run folders. [default: those of zoo.toml]"),
    ] = None,
    strict: Strict = False,
    out: Out = None,
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """Count test images that sources were trained on.

    By content: the sha256 of every test image is looked up in images.sha256 of a run, which lists what its student was
    trained on, and in the file that `trained_images` of a source names. Without either the number is unknown. Copies
    that were resized or encoded again are other images. --json has the ids of the first five.

    zoo evaluate overlap
    zoo evaluate overlap file:experts/birds runs/a --strict
    """
    from zoo_cli.pipeline.evaluate.overlap import OverlapConfig, evaluate_overlap
    from zoo_cli.pipeline.image_overlap import refuse_overlaps, warn_of_overlaps

    check_out(out)
    overlaps = evaluate_overlap(OverlapConfig(workspace, tuple(model or ())))
    rows = [asdict(each) | {"examples": list(each.examples)} for each in overlaps]
    table = [
        {
            **row,
            "seen": "unknown" if row["seen"] is None else f"{row['seen']:,}",
            "example": next(iter(row["examples"]), ""),
        }
        for row in rows
    ]
    types = {"seen": "int64", "examples": "list<string>"}
    form = "json" if json else form
    print_answer("zoo.evaluate-overlap/1", rows, FIELDS, rows=rows, table=table, out=out, form=form, types=types)
    warn_of_overlaps(overlaps)
    if strict:
        refuse_overlaps(overlaps)
