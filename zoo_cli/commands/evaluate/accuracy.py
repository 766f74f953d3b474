"""`zoo evaluate accuracy`."""

from pathlib import Path
from typing import Annotated

import typer

from zoo_cli.commands.evaluate.out_option import Out, check_out
from zoo_cli.commands.options import HERE, Device, Format, Json, Workers, Workspace


def accuracy(
    run: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help="Run folders, parquet files or models; with --by workspaces. [default: every finished run]",
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="NAME", help="A table of targets by method, or by source, averaged over seeds."),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline", metavar="NAME", help="With --by: the method or run to compare with. [default: labels only]"
        ),
    ] = None,
    across: Annotated[
        list[str] | None,
        typer.Option(
            "--across",
            metavar="SETTING",
            help="With --by: runs that differ in this alone are one method, e.g. lr where it was chosen on each task; "
            "labels: label sets of as many labels are draws. Repeatable.",
        ),
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
    random. The accuracy of a run is also written into its card, README.md.

    With --by, the finished runs of one or more workspaces are grouped by what they were asked to do, never by their
    names: mean accuracy and standard deviation over seeds for every target, the gain over a baseline with its 90 %
    interval, and both averaged over targets. Runs of one source each are one method, or with --by source a row for
    each source.

    zoo evaluate accuracy
    zoo evaluate accuracy runs/a theirs.parquet file:experts/b --json
    zoo evaluate accuracy tasks/* --by method --format md
    zoo evaluate accuracy tasks/* --by method --across lr --across labels
    """
    from zoo_cli.commands.evaluate.accuracy_answer import print_accuracy
    from zoo_cli.commands.evaluate.method_table_answer import print_method_table
    from zoo_cli.pipeline.evaluate.accuracy import AccuracyConfig, evaluate_accuracy
    from zoo_cli.pipeline.evaluate.method_table import MethodTableConfig, check_by, tabulate_methods

    check_out(out)
    check_by(by, baseline, across or ())
    if by is not None:
        places = tuple(map(Path, run or [str(workspace)]))
        config = MethodTableConfig(places, by, baseline, tuple(across or ()))
        print_method_table(tabulate_methods(config), out, "json" if json else form)
        return
    result = evaluate_accuracy(AccuracyConfig(workspace, tuple(run or ()), device, workers))
    print_accuracy(result, out, "json" if json else form)
