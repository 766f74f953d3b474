"""`zoo rank`: rank the sources, with intervals and a verdict."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from zoo_cli import label_sets, registry
from zoo_cli.commands.options import (
    HERE,
    Features,
    Format,
    Json,
    Labels,
    Manifest,
    On,
    Overwrite,
    Refresh,
    Seed,
    Sources,
    Strict,
    Weighting,
    Workspace,
)
from zoo_cli.errors import UsageError


def rank(
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric", metavar="SPEC", help="NAME or NAME:key=value; several by their mean z-score. [default: parc]"
        ),
    ] = None,
    on: On = None,
    probe_per_class: Annotated[
        str | None,
        typer.Option(
            "--probe-per-class",
            metavar="N",
            help="Use at most N images of each class of the probe set. [default: all]",
        ),
    ] = None,
    weighting: Weighting = registry.DEFAULT_WEIGHTING,
    plasticity: Annotated[
        bool, typer.Option("--plasticity", help="Add the capacity term: z-score + depth / 50 of each source.")
    ] = False,
    explain: Annotated[
        str | None,
        typer.Option(
            "--explain", metavar="SOURCE", help="Show the classes that make this source good instead of ranking."
        ),
    ] = None,
    source: Sources = None,
    features: Features = None,
    labels: Labels = None,
    manifest: Manifest = None,
    scores: Annotated[
        Path | None, typer.Option("--scores", metavar="FILE", help="A scores file or folder, without a zoo.toml.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="File of the ranking. [default: ranking.parquet]")
    ] = None,
    seed: Seed = None,
    strict: Strict = False,
    overwrite: Overwrite = False,
    refresh: Refresh = False,
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """Rank the sources, with a verdict.

    With 90 % intervals, the probability that each source is the best one, their weights in the student, whether each
    fits or how many labels would tell, and how often a ridge head on its features is right.

    zoo rank --metric parc
    zoo rank --metric parc,lfc --weighting nearest
    zoo rank --features a.parquet --features b.parquet
    """
    from zoo_cli.commands.rank_answer import answer_explanation, answer_ranking
    from zoo_cli.pipeline import explanation
    from zoo_cli.pipeline import rank as stage
    from zoo_cli.pipeline.metric_specs import ScoreConfig, parse_sizes, size_metrics
    from zoo_cli.pipeline.ranking_spec import parse_ranking

    settings = label_sets.load_config(workspace, labels, features=features, manifest=manifest, scores=scores)
    form = "json" if json else form
    spec = parse_ranking(metric or [registry.DEFAULT_METRIC], on, weighting, plasticity)
    if probe_per_class is not None:
        if explain is not None or scores is not None:
            raise UsageError(
                f"--probe-per-class and --{'scores' if explain is None else 'explain'} cannot be combined", "drop one"
            )
        spec = replace(spec, metrics=size_metrics(spec.metrics, parse_sizes([probe_per_class])))
    if explain is not None:
        rows = explanation.explain_source(settings, explain, spec.representation, refresh=refresh)
        answer_explanation(rows, explain, spec.representation, form)
        return
    if strict and (scores is not None or features):
        raise UsageError("--strict needs the images of a workspace", "drop --features and --scores")
    if scores is not None and (metric or on or plasticity):
        raise UsageError("--scores already names the metric", "drop --metric, --on and --plasticity")
    options = ScoreConfig(
        spec.metrics,
        settings.select(source or []),
        tuple(features or ()),
        manifest,
        seed=seed,
        overwrite=overwrite,
        refresh=refresh,
    )
    answer_ranking(stage.rank(settings, spec, scores or options, out, strict=strict), form)
