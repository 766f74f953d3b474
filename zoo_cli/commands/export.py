"""`zoo export`: a student as one file for other runtimes."""

from pathlib import Path
from typing import Annotated

import typer

from zoo_cli.commands.options import HERE, Json, Overwrite, Workers, Workspace


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run by folder or name; of an expert FOLDER#DOMAIN.")],
    *,
    file_format: Annotated[
        str, typer.Option("--format", metavar="NAME", help="onnx (extra onnx) or pt2, which torch reads.")
    ] = "onnx",
    with_preprocessing: Annotated[
        bool, typer.Option("--with-preprocessing", help="Take pixels as decoded, uint8, and normalise them inside.")
    ] = False,
    quantize: Annotated[
        str | None, typer.Option("--quantize", metavar="NAME", help="int8 stores weights and activations in 8 bits.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The file. [default: model.onnx in the folder of the run]"),
    ] = None,
    overwrite: Overwrite = False,
    workers: Workers = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """Export a student to ONNX or a .pt2 file.

    The file takes any batch size and returns logits and features. FILE.json beside it, and metadata inside, describe
    the input, the preprocessing and the classes. Its logits on the test images are compared with those of the run: a
    difference above 1e-4 is exit code 1, and nothing is written. --quantize int8 takes the ranges of activations from
    unlabelled images and states what it costs: accuracy, and flips. The latency is that of one image on this CPU.

    zoo export runs/a
    zoo export a --quantize int8 --out a.onnx
    zoo export a --format pt2 --with-preprocessing
    """
    from zoo_cli import config
    from zoo_cli.commands.export_answer import print_export
    from zoo_cli.pipeline import export as stage

    options = stage.ExportConfig(run, file_format, with_preprocessing, quantize, out, overwrite, workers)
    print_export(stage.export_run(config.load(workspace), options), "json" if json else None)
