"""`zoo evaluate ranking`."""

from pathlib import Path
from typing import Annotated

import typer

from zoo_cli.commands.evaluate.out_option import Out, check_out
from zoo_cli.commands.options import HERE, Format, Json, Labels, Workspace


def ranking(
    scores: Annotated[
        Path | None,
        typer.Argument(
            metavar="SCORES",
            help="A workspace, a folder of them, a scores file, or a table. [default: the workspace]",
        ),
    ] = None,
    accuracies: Annotated[
        Path | None,
        typer.Argument(
            metavar="ACCURACIES",
            help="A table of source, target and accuracy, or run folders. [default: the runs of the workspace]",
        ),
    ] = None,
    labels: Labels = None,
    out: Out = None,
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """How well metrics predict transfer accuracy.

    Rank correlations, relative accuracy, regret and trials of every metric in SCORES, on the sources and targets that
    have an accuracy in ACCURACIES. --out FILE.parquet holds a row for each metric and target.

    zoo evaluate ranking
    zoo evaluate ranking scores/parc.parquet accuracies.csv
    zoo evaluate ranking . "runs/cross-task-from-*" --json
    """
    from zoo_cli.commands.evaluate.ranking_answer import print_ranking_quality
    from zoo_cli.pipeline.evaluate.ranking import RankingEvaluationConfig, evaluate_ranking

    check_out(out)
    result = evaluate_ranking(RankingEvaluationConfig(workspace, scores, accuracies, labels))
    print_ranking_quality(result, out, "json" if json else form)
