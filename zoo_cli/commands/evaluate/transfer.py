"""`zoo evaluate transfer`."""

from typing import Annotated

import typer

from zoo_cli.commands.evaluate.out_option import Out, check_out
from zoo_cli.commands.options import HERE, Device, Format, Json, Workers, Workspace


def transfer(
    before: Annotated[
        str, typer.Argument(metavar="BEFORE", help="The student before: a run folder, a parquet file or a model.")
    ],
    after: Annotated[
        list[str], typer.Argument(metavar="AFTER", help="The student after each transfer, one or several.")
    ],
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            "--teacher",
            metavar="RUN",
            help="Teacher: one for all, one for each AFTER, or several for one. Repeatable. [default: as recorded]",
        ),
    ] = None,
    out: Out = None,
    device: Device = "auto",
    workers: Workers = None,
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """Gains and losses of transfers from teachers.

    What the student gained and lost by each transfer, and how much of it its teachers knew. A transfer is a success or
    a failure if gain and loss differ by McNemar's exact test, two-sided at 5 %, else undecided. Without --teacher the
    teachers are those that the run.json of AFTER names.

    Transfers are counted by the strength of the teacher: weaker, equal or stronger than BEFORE by the same test of
    their predictions. Beside them the ceiling: the ensemble of BEFORE and the teacher, by the mean of probabilities.

    zoo evaluate transfer student runs/dp-s0 --teacher runs/expert
    zoo evaluate transfer runs/labels-only-s0 runs/kl-s0 runs/dp-s0 --teacher file:experts/b --json
    """
    from zoo_cli.commands.evaluate.transfer_answer import print_transfer
    from zoo_cli.pipeline.evaluate.transfer import TransferEvaluationConfig, evaluate_transfer

    check_out(out)
    options = TransferEvaluationConfig(workspace, before, tuple(after), tuple(teacher or ()), device, workers)
    print_transfer(evaluate_transfer(options), out, "json" if json else form)
