"""What `zoo evaluate ranking` prints.

--json and --out FILE.json hold two flat lists: `metrics`, a row for each metric and representation, with the mean of
every measure over targets and its interval (see `ranking_quality.mean_over_targets`), best Spearman correlation first;
and `targets`, a row for each of these and each target (see `ranking_quality.judge_ranking`; `probes`: the number of
probe sets over which the measures are averaged). --out FILE.parquet holds the rows of `targets`.
"""

from dataclasses import asdict
from pathlib import Path

from zoo_cli import console
from zoo_cli.commands.evaluate.answers import print_answer
from zoo_cli.pipeline.evaluate.ranking import RankingQualityResult

KEYS = (console.Field("metric"), console.Field("representation", "on"), console.Field("targets", style="d"))
MEASURES = (
    console.Field("spearman", style=".2f"),
    console.Field("pearson", style=".2f"),
    console.Field("kendall", style=".2f"),
    console.Field("weighted_kendall", "weighted", ".2f"),
    console.Field("relative_accuracy", "rel. acc.", "percent"),
    console.Field("regret", style=".3f"),
    console.Field("trials", style=".1f"),
)


def print_ranking_quality(result: RankingQualityResult, out: Path | None, form: str | None) -> None:
    """A row per metric; below them what the means are over, and the measures of a random order."""
    metrics = [{**asdict(row.key), **asdict(row.quality)} for row in result.metrics]
    targets = [
        {**asdict(row.key), "target": row.target, "probes": row.probes, **asdict(row.quality)} for row in result.targets
    ]
    print_answer(
        "zoo.evaluate-ranking/1",
        {"metrics": metrics, "targets": targets},
        _fields(form, len(result.sources)),
        rows=targets,
        table=metrics,
        out=out,
        form=form,
        meta={"level": result.level, "random_order": asdict(result.random_order)},
        notes=_notes(result),
    )


def _fields(form: str | None, targets: int) -> tuple[console.Field, ...]:
    """The means with the interval of the first on a terminal, with all intervals otherwise."""
    if form in ("csv", "tsv") or (form is None and not console.current().out.isatty()):
        return (
            *KEYS,
            *(
                console.Field(f"{field.key}{ending}", style=field.style)
                for field in MEASURES
                for ending in ("", "_low", "_high")
            ),
        )
    ends = [console.Field(f"spearman_{end}", end, ".2f") for end in ("low", "high")] if targets > 1 else []
    return (*KEYS, MEASURES[0], *ends, *MEASURES[1:])


def _notes(result: RankingQualityResult) -> list[str]:
    sizes = sorted({len(names) for names in result.sources.values()})
    sources = f"{sizes[0]} to {sizes[-1]}" if len(sizes) > 1 else str(sizes[0])
    targets = len(result.sources)
    if targets == 1:
        notes = [f"one target, {sources} sources: no interval over targets"]
    else:
        notes = [f"means over {targets} targets of {sources} sources, 90 % intervals over targets"]
    qualities = [row.quality for row in result.metrics]
    reasons = sorted({reason for quality in qualities for reason in (quality.reason or "").split(",") if reason})
    if reasons:
        notes.append(f"some measures have no value: {', '.join(reasons).replace('_', ' ')}")
    if any(0 < quality.correlated < targets for quality in qualities):
        notes.append("metrics with no value on some targets are means over fewer of them: see targets, correlated")
    chance = result.random_order
    if chance.regret is not None:
        notes.append(
            f"a random order: relative accuracy {console.percent(chance.relative_accuracy)}, "
            f"regret {chance.regret:.3f}, trials {chance.trials:.1f}"
        )
    return notes
