"""`zoo evaluate overlap`."""

from typing import Annotated

import typer

from zoo_cli.commands.evaluate.out_option import Out, check_out
from zoo_cli.commands.options import HERE, Format, Json, Strict, Workspace


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
    """Count test images that sources have seen.

    By content: the sha256 of every test image is looked up in images.sha256 of a run, which lists what its student was
    trained on, and in the file that `trained_images` of a source names. Without either the number is unknown. Copies
    that were resized or encoded again are other images. --json has the ids of the first five.

    zoo evaluate overlap
    zoo evaluate overlap file:experts/birds runs/a --strict
    """
    from zoo_cli.commands.evaluate.overlap_answer import print_overlaps
    from zoo_cli.pipeline.evaluate.overlap import OverlapConfig, evaluate_overlap

    check_out(out)
    overlaps = evaluate_overlap(OverlapConfig(workspace, tuple(model or ())))
    print_overlaps(overlaps, out, "json" if json else form, strict=strict)
