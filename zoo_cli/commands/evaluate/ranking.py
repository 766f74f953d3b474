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
    reference: Annotated[
        str | None,
        typer.Option("--reference", metavar="SOURCE", help="Count gains over the accuracy of this source."),
    ] = None,
    top: Annotated[int, typer.Option("--top", metavar="K", help="With --reference: how many sources are tried.")] = 3,
    labels: Labels = None,
    out: Out = None,
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """How well metrics predict transfer accuracy.

    Rank correlations, relative accuracy, regret and trials of every metric in SCORES, on the sources and targets that
    have an accuracy in ACCURACIES. Controls stand beside them: a random order, the sources' parameters and depth, and
    the prior, a source's mean accuracy on the other targets. A metric that does not beat the prior has shown nothing.

    Scores on several sizes of the probe set, see zoo score --probe-per-class, also stand side by side.

    With --reference, what the first choice of a metric gains over that source, what the best of its top K does, and
    the share of the best gain there is. --out FILE.parquet holds a row for each metric and target, with its points.

    zoo evaluate ranking
    zoo evaluate ranking scores/parc.parquet accuracies.csv
    zoo evaluate ranking . "runs/cross-task-from-*" --json
    zoo evaluate ranking tasks accuracies.csv --reference imagenet --format md
    """
    from zoo_cli.commands.evaluate.ranking_answer import print_ranking_quality
    from zoo_cli.pipeline.evaluate.ranking import RankingEvaluationConfig, evaluate_ranking

    check_out(out)
    options = RankingEvaluationConfig(workspace, scores, accuracies, labels, reference, top)
    result = evaluate_ranking(options)
    print_ranking_quality(result, out, "json" if json else form)
