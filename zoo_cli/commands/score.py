"""`zoo score`: score every source by every metric."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from zoo_cli import label_sets
from zoo_cli.commands.options import (
    HERE,
    Features,
    Format,
    Json,
    Labels,
    Manifest,
    On,
    Overwrite,
    ProbeSizes,
    Refresh,
    Seed,
    Sources,
    Workspace,
)
from zoo_cli.commands.score_answer import answer_scores
from zoo_cli.errors import UsageError
from zoo_cli.registry import METRICS


def score(
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric", metavar="SPEC", help="NAME or NAME:key=value. Repeatable. [default: those that take seconds]"
        ),
    ] = None,
    on: On = None,
    probe_per_class: ProbeSizes = None,
    source: Sources = None,
    features: Features = None,
    labels: Labels = None,
    manifest: Manifest = None,
    reference: Annotated[
        Path | None,
        typer.Option("--reference", metavar="FILE", help="Stored features of a network trained on the task."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the scores of one metric to this file.")
    ] = None,
    intervals: Annotated[
        str,
        typer.Option("--intervals", metavar="NAME", help="full, or none: the values alone, without chance levels."),
    ] = "full",
    seed: Seed = None,
    overwrite: Overwrite = False,
    refresh: Refresh = False,
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """Score every source on the probe set.

    Higher is better in every metric.

    zoo score --metric parc
    zoo score --metric parc --probe-per-class 5 --probe-per-class 25 --probe-per-class all
    zoo score --features a.parquet --features b.parquet --metric parc --json
    """
    from zoo_cli.commands.ensemble_notes import ensemble_notes
    from zoo_cli.pipeline import score as stage
    from zoo_cli.pipeline.metric_specs import (
        ScoreConfig,
        needed_inputs,
        parse_intervals,
        parse_metric,
        parse_sizes,
        size_metrics,
    )

    settings = label_sets.load_config(workspace, labels, features=features, manifest=manifest)
    texts = metric or [name for name, entry in METRICS.items() if entry.cheap]
    if out is not None and len(texts) != 1:
        raise UsageError(f"--out holds the scores of one metric, not of {len(texts)}", "name one with --metric")
    sizes = parse_sizes(probe_per_class or ["all"])
    if out is not None and len(sizes) != 1:
        raise UsageError(f"--out holds the scores on one probe set, not on {len(sizes)}", "name one --probe-per-class")
    specs = size_metrics((parse_metric(text, on, strict=metric is not None) for text in texts), sizes)
    if reference is not None and "reference" not in needed_inputs(specs):
        raise UsageError(f"--reference is not used by {', '.join(texts)}", "use it with --metric rsa-ref")
    options = ScoreConfig(
        specs,
        settings.select(source or []),
        tuple(features or ()),
        manifest,
        seed=seed,
        strict=metric is not None,
        reference=reference,
        out=out,
        overwrite=overwrite,
        refresh=refresh,
        intervals=parse_intervals(intervals),
    )
    result = stage.score(settings, options)
    hidden = {"draws"} if probe_per_class else {"draws", "per_class"}
    rows = [{key: value for key, value in asdict(row).items() if key not in hidden} for row in result.rows]
    answer_scores(
        rows,
        result.notes,
        "json" if json else form,
        by_size=bool(probe_per_class),
        meta={"sets": [ensemble.to_json() for ensemble in result.ensembles]} if result.ensembles else {},
        notes=[line for ensemble in result.ensembles for line in ensemble_notes(ensemble)],
    )
