"""`zoo evaluate accuracy`."""

from typing import Annotated

import typer

from zoo_cli.commands.evaluate.out_option import Out, check_out
from zoo_cli.commands.options import HERE, Device, Format, Json, Workers, Workspace


def accuracy(
    run: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN", help="Run folders, parquet files or models. [default: every finished run]"),
    ] = None,
    out: Out = None,
    device: Device = "auto",
    workers: Workers = None,
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """Accuracy and calibration of predictions.

    Accuracy with its 90 % interval, balanced accuracy, top-5 accuracy (of more than 5 classes), negative log-likelihood
    (nats) and expected calibration error of stored predictions or of models. A model, named as in zoo.toml or as
    PROVIDER:NAME, is run on the test images once; its classes must be the task's. Below the table each is compared with
    the first, on the same images: the difference with its 90 % interval and the p of McNemar's exact test. The mean
    accuracy of several follows: for the runs of `distill --each-source` it is what to expect from a source chosen at
    random.

    zoo evaluate accuracy
    zoo evaluate accuracy runs/a theirs.parquet file:experts/b --json
    """
    from zoo_cli.commands.evaluate.accuracy_answer import print_accuracy
    from zoo_cli.pipeline.evaluate.accuracy import AccuracyConfig, evaluate_accuracy

    check_out(out)
    result = evaluate_accuracy(AccuracyConfig(workspace, tuple(run or ()), device, workers))
    print_accuracy(result, out, "json" if json else form)
