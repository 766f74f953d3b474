"""`zoo pseudo-label`: store the class probabilities of every source."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from zoo_cli import config, label_sets
from zoo_cli.answer_tables import Field, show_answer
from zoo_cli.commands.note_column import add_notes
from zoo_cli.commands.options import HERE, Format, Json, Labels, Overwrite, Refresh, Shard, Sources, Workspace
from zoo_cli.config import STUDENT
from zoo_cli.errors import UsageError
from zoo_cli.registry import DEFAULT_POOL
from zoo_cli.shards import parse_shard

FIELDS = (Field("source"), Field("images", style=","), Field("classes", style="d"))


def pseudo_label(
    source: Sources = None,
    features: Annotated[
        Path | None,
        typer.Option("--features", metavar="FILE", help="Stored outputs, without a zoo.toml; needs --out."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder of the pseudo-labels of --features.")
    ] = None,
    output: Annotated[
        str,
        typer.Option("--output", metavar="NAME", help="Activation of the logits of --features: softmax or sigmoid."),
    ] = "softmax",
    head: Annotated[
        str | None,
        typer.Option(
            "--head",
            metavar="SPEC",
            help="Answer in the task's classes by a head on each source: ridge, ncm, logistic.",
        ),
    ] = None,
    pool: Annotated[
        str | None,
        typer.Option(
            "--pool",
            metavar="SPEC",
            help=f"Pool of the heads: product, kernel, logmean, spread, best. [default: {DEFAULT_POOL}]",
        ),
    ] = None,
    with_student: Annotated[
        bool, typer.Option("--with-student", help="Also fit a head on the student's initial features.")
    ] = False,
    views: Annotated[
        int, typer.Option("--views", metavar="N", min=0, help="Answer for N stored augmented views of each image.")
    ] = 0,
    show: Annotated[
        int,
        typer.Option(
            "--show", metavar="N", min=0, max=1000, help="List N images to label next: the heads agree least on them."
        ),
    ] = 0,
    labels: Labels = None,
    overwrite: Overwrite = False,
    refresh: Refresh = False,
    shard: Shard = None,
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """Store the soft targets of every source.

    They are its class probabilities on the labelled and unlabelled images: of its own classes, or with --head
    of the task's classes, by a pool of heads on the stored features of all sources. The pool's accuracy is estimated.

    zoo pseudo-label
    zoo pseudo-label --head ridge
    zoo pseudo-label --head ridge --show 20 --format tsv
    zoo pseudo-label --head ridge --views 4
    zoo pseudo-label --shard 2/8
    zoo pseudo-label --features theirs.parquet --out pseudo/source=theirs
    """
    from zoo_cli.commands.heads_answer import answer_heads, answer_label_next
    from zoo_cli.pipeline import head_labels, label_next
    from zoo_cli.pipeline import pseudo_label as stage
    from zoo_cli.pipeline.head_config import configure_heads
    from zoo_cli.pipeline.source_notes import note_sources
    from zoo_cli.pipeline.view_choice import stored_views

    settings = label_sets.load_config(workspace, labels, features=features)
    form = "json" if json else form
    if head is None and (pool is not None or with_student or show):
        raise UsageError("--pool, --with-student and --show belong to --head", "add --head ridge")
    if shard is not None and (head is not None or features is not None):
        raise UsageError(
            "--shard divides the pseudo-labels of the sources of zoo.toml",
            "--head and --features make theirs in one job",
        )
    if head is None and labels is not None:
        raise UsageError("--labels belongs to --head", "the answers of the sources are the same for every label set")
    if features is not None:
        if out is None or head is not None or views:
            raise UsageError("--features needs --out, the folder of its pseudo-labels, and neither --head nor --views")
        rows = [stage.pseudo_label_file(features, out, output, overwrite=overwrite)]
    elif out is not None:
        raise UsageError("--out needs --features", "a workspace stores them in pseudo/source=NAME")
    else:
        sources = [model for model in settings.select(source or []) if model.name != STUDENT]
        if not sources:
            raise UsageError(f"no source in {settings.root / config.FILE}", "add a [[source]] table, or use --features")
        chosen_views = stored_views(settings, views, refresh=refresh)
        if head is not None:
            options = configure_heads(
                settings, head, pool or DEFAULT_POOL, source or (), with_student=with_student, views=chosen_views
            )
            record = head_labels.label_with_heads(settings, options, overwrite=overwrite, refresh=refresh)
            if show:
                answer_label_next(record, label_next.list_images(settings, record, show), form)
            else:
                answer_heads(record, note_sources(settings, [head.source for head in record.sources]), form)
            return
        rows = stage.pseudo_label(
            settings, sources, overwrite=overwrite, refresh=refresh, views=chosen_views, shard=parse_shard(shard)
        )
    table, fields = add_notes([asdict(row) for row in rows], FIELDS)
    show_answer("zoo.pseudo-label/1", table, fields, form=form)
