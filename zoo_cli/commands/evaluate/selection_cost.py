"""`zoo evaluate cost`."""

from typing import Annotated

import typer

from zoo_cli import registry
from zoo_cli.commands.evaluate.out_option import Out, check_out
from zoo_cli.commands.options import HERE, Format, Json, Labels, On, Workspace
from zoo_cli.errors import UsageError


def cost(
    metric: Annotated[
        str, typer.Option("--metric", metavar="SPEC", help="The metric that selects.")
    ] = registry.DEFAULT_METRIC,
    on: On = None,
    probe_per_class: Annotated[
        str | None,
        typer.Option("--probe-per-class", metavar="N", help="Of its scores on N images of each class. [default: all]"),
    ] = None,
    top: Annotated[int, typer.Option("--top", metavar="K", help="How many sources are fine-tuned.")] = 3,
    labels: Labels = None,
    out: Out = None,
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """Seconds of selection and of brute force.

    Seconds of extraction, score, pseudo-labels and fine-tuning of every source, from the logs beside them; then what it
    takes to fine-tune every source (brute force), and to score all and fine-tune the first or the top K, also relative
    to one fine-tuning. A stage without a log is named, and nothing is computed from it.

    zoo evaluate cost
    zoo evaluate cost --metric lfc --top 3 --format md
    """
    from zoo_cli.commands.evaluate.cost_answer import print_cost
    from zoo_cli.pipeline.evaluate.selection_cost import CostConfig, evaluate_cost
    from zoo_cli.pipeline.metric_specs import parse_sizes

    check_out(out)
    if top < 1:
        raise UsageError(f"--top {top}", "give a number from 1 up")
    (size,) = parse_sizes([probe_per_class or "all"])
    print_cost(evaluate_cost(CostConfig(workspace, metric, on, size, top, labels)), out, "json" if json else form)
