"""`zoo rank`: the order of the sources, how sure it is, their weights in the student, and what to do about it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from zoo_cli import config, console, registry
from zoo_cli.commands.options import (
    HERE,
    Features,
    Format,
    Json,
    Manifest,
    On,
    Overwrite,
    Seed,
    Sources,
    Weighting,
    Workspace,
)
from zoo_cli.config import STUDENT, Config
from zoo_cli.errors import UsageError
from zoo_cli.pipeline import explanation, prepare, score, source_ranking
from zoo_cli.pipeline.metric_scores import ScoreConfig
from zoo_cli.pipeline.source_ranking import Ranking
from zoo_cli.store import files, schemas

FIELDS = (
    console.Field("rank", style="d"),
    console.Field("source"),
    console.Field("value", "score", "score"),
    console.Field("low", style="score"),
    console.Field("high", style="score"),
    console.Field("p_best", "P(best)", ".2f"),
    console.Field("ranks", style=">"),
    console.Field("weight", style=".4f"),
    console.Field("excluded"),
)


def rank(
    metric: Annotated[
        list[str] | None, typer.Option("--metric", help="NAME or NAME:key=value; several by their mean z. [parc]")
    ] = None,
    on: On = None,
    weighting: Weighting = registry.DEFAULT_WEIGHTING,
    plasticity: Annotated[
        bool, typer.Option("--plasticity", help="Add the capacity term: z-score + depth / 50 of each source.")
    ] = False,
    explain: Annotated[
        str | None, typer.Option("--explain", help="Show instead which classes make this source good.")
    ] = None,
    source: Sources = None,
    features: Features = None,
    manifest: Manifest = None,
    scores: Annotated[Path | None, typer.Option("--scores", help="A scores file, without a zoo.toml.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where the ranking goes. Default: ranking.parquet.")] = None,
    seed: Seed = None,
    overwrite: Overwrite = False,
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """Rank the sources, with 90 % intervals, the probability that each is best, their weights, and a verdict.

    zoo rank --metric parc
    zoo rank --metric parc,lfc --weighting nearest
    zoo rank --features a.parquet --features b.parquet
    """
    settings = config.load(workspace)
    form = "json" if json else form
    asked = source_ranking.parse_ranking(metric or [registry.DEFAULT_METRIC], on, weighting, plasticity)
    if explain is not None:
        explanation.explain_source(settings, explain, asked.questions[0].on, form)
        return
    if scores is not None:
        if metric or on or plasticity:
            raise UsageError("--scores says the metric by itself", "leave --metric, --on and --plasticity out")
        found = source_ranking.rank_scores_file(scores, weighting, settings)
    else:
        if features:
            drawn = settings.task.seed if seed is None else seed
            rows = score.score_files(asked.questions, features, manifest, drawn, None)
        else:
            chosen = settings.select(source or [])
            scores_asked = ScoreConfig(asked.questions, tuple(chosen), seed, overwrite)
            prepare.prepare(settings, score.needs(settings, scores_asked))
            rows = score.load_scores(settings, scores_asked)
        found = source_ranking.order_sources(settings, asked, rows)
    if (scores is None and not features) or out is not None:
        write_ranking(settings, found, out or settings.root / "ranking.parquet")
    print_ranking(found, form)


def write_ranking(settings: Config, found: Ranking, path: Path) -> None:
    """The ranking and its weights, views of the last question: always replaced."""
    import pyarrow as pa

    kinds = {"int64": pa.int64(), "string": pa.string(), "double": pa.float64()}
    columns = [column for column in schemas.RANKING.columns if column.name != "borda" or not found.asked.raw]
    arrow = pa.schema([(column.name, kinds[column.type]) for column in columns])
    told = {"metric": found.asked.metric, "on": found.asked.questions[0].on, "weighting": found.asked.weighting}
    files.write_table(path, pa.Table.from_pylist(found.rows, schema=arrow), schemas.RANKING, told)
    files.write_json(
        path.with_name("weights.json"),
        {
            "weighting": found.asked.weighting,
            "metric": found.asked.metric,
            "effective_sources": found.effective,
            "sources": [
                {"source": row["source"], "score": row["value"], "weight": row["weight"]} for row in found.rows
            ],
        },
    )
    console.detail(f"wrote {path} and {path.with_name('weights.json')} in {settings.root}")


def print_ranking(found: Ranking, form: str | None) -> None:
    """Print the ranking; below it the weighting, the student's own place, and the verdict."""
    notes = [f"{found.asked.weighting}: {found.effective:.1f} effective sources of {len(found.rows)}"]
    if found.student is not None:
        notes.append(f"{STUDENT}, the student before training: {_place(found)}")
    notes.append(found.verdict.sentence)
    fields = FIELDS if found.asked.raw else (*FIELDS[:3], console.Field("borda", style=".1f"), *FIELDS[3:])
    rows = [{key: row[key] for key in row if key != "borda" or not found.asked.raw} for row in found.rows]
    table = [
        row | {"ranks": None if row["rank_low"] is None else f"{row['rank_low']}-{row['rank_high']}"} for row in rows
    ]
    meta = {
        "metric": found.asked.metric,
        "representation": found.asked.questions[0].on,
        "weighting": found.asked.weighting,
        "effective_sources": found.effective,
        "student": found.student,
        "beats": found.beats,
        "verdict": {
            "kind": found.verdict.kind,
            "sources": found.verdict.names,
            "fits": found.verdict.fits,
            "sentence": found.verdict.sentence,
        },
    }
    console.answer("zoo.rank/1", rows, fields, form=form, meta=meta, notes=notes, table=table)


def _place(found: Ranking) -> str:
    student: dict[str, Any] = found.student or {}
    if student["value"] is None:
        return student["reason"] or "not on this scale"
    interval = "" if student["low"] is None else f" [{student['low']:.4f}, {student['high']:.4f}]"
    ranked = len([row for row in found.rows if row["rank"]])
    return f"{student['value']:.4f}{interval}, would stand at {student['rank']} of {ranked + 1}"
