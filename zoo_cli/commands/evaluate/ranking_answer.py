"""What `zoo evaluate ranking` prints.

--json and --out FILE.json hold two flat lists: `metrics`, a row for each metric and control, representation and probe
size, with the mean of every measure over targets and its interval (see `ranking_quality.mean_over_targets`), best
Spearman correlation first; and `targets`, a row for each of these and each target (see
`ranking_quality.judge_ranking`; `probes`: the number of probe sets over which the measures are averaged), with its
points: `point_sources`, their `point_scores` and `point_accuracies`. --out FILE.parquet holds the rows of `targets`.
"""

from collections.abc import Sequence
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path

from zoo_cli.answer_tables import Field, Grid
from zoo_cli.commands.evaluate.answers import Row, print_answer
from zoo_cli.commands.evaluate.difference_text import format_gain
from zoo_cli.evaluation.controls import PRIOR, AgainstPrior
from zoo_cli.evaluation.reference_gains import MeanGain, ReferenceGain
from zoo_cli.evaluation.score_tables import MetricKey
from zoo_cli.pipeline.evaluate.ranking import MetricQuality, RankingQualityResult, TargetQuality
from zoo_cli.quantities import percent

KEYS = (Field("metric"), Field("representation", "on"), Field("per_class", "a class", ">"))
TARGETS = Field("targets", style="d")
CORRELATIONS = (
    Field("spearman", style=".2f"),
    Field("pearson", style=".2f"),
    Field("kendall", style=".2f"),
    Field("weighted_kendall", "weighted", ".2f"),
)
CHOICES = (
    Field("relative_accuracy", "rel. acc.", "percent"),
    Field("regret", style=".3f"),
    Field("trials", style=".1f"),
)
AGAINST_PRIOR = ("prior_difference", "prior_low", "prior_high", "beats_prior")
GAIN = tuple(field.name for field in fields(ReferenceGain))
MEAN_GAIN = tuple(field.name for field in fields(MeanGain))
TYPES = {
    "per_class": "int64",
    **{f"gain_{name}": "int64" if name in ("gaining", "sources") else "double" for name in GAIN},
}


def print_ranking_quality(result: RankingQualityResult, out: Path | None, form: str | None) -> None:
    """A row per metric; below them what the means are over, and what no metric showed."""
    metrics = [_metric_row(row) for row in result.metrics]
    targets = [_target_row(row) for row in result.targets]
    print_answer(
        "zoo.evaluate-ranking/1",
        {"metrics": metrics, "targets": targets},
        _file_fields(result),
        rows=targets,
        table=metrics,
        out=out,
        form=form,
        meta={
            "level": result.level,
            "random_order": asdict(result.random_order),
            "reference": result.reference,
            "top": result.top,
        },
        notes=_notes(result),
        types=TYPES,
        grids=_grids(result, metrics),
    )


def _metric_row(row: MetricQuality) -> Row:
    prior = row.against_prior or AgainstPrior(0, None, None, None, None)
    compared = dict(zip(AGAINST_PRIOR, (prior.difference, prior.low, prior.high, prior.beats), strict=True))
    gain = dict.fromkeys(MEAN_GAIN) if row.gain is None else asdict(row.gain)
    own = {**_key(row.key), "control": row.control, **asdict(row.quality), **compared}
    return {**own, **{f"gain_{name}": value for name, value in gain.items()}}


def _target_row(row: TargetQuality) -> Row:
    gain = dict.fromkeys(GAIN) if row.gain is None else asdict(row.gain)
    points = {
        "point_sources": [point.source for point in row.points],
        "point_scores": [point.score for point in row.points],
        "point_accuracies": [point.accuracy for point in row.points],
    }
    own = {**_key(row.key), "control": row.control, "target": row.target, "probes": row.probes, **asdict(row.quality)}
    return {**own, **{f"gain_{name}": value for name, value in gain.items()}, **points}


def _key(key: MetricKey) -> Row:
    return {"metric": key.metric, "representation": key.representation, "per_class": key.per_class}


def _file_fields(result: RankingQualityResult) -> list[Field]:
    """Every value, for csv and tsv."""
    measures = [field.key for field in (*CORRELATIONS, *CHOICES)]
    ends = [f"{measure}{ending}" for measure in measures for ending in ("", "_low", "_high")]
    gains = [f"gain_{name}" for name in MEAN_GAIN] if result.reference is not None else []
    return [
        Field(key)
        for key in ("metric", "representation", "per_class", "control", "targets", *ends, *AGAINST_PRIOR, *gains)
    ]


def _grids(result: RankingQualityResult, metrics: Sequence[Row]) -> list[Grid]:
    """Correlations; what a choice by each metric is worth; and with a reference the gains, by target."""
    keys = [field for field in KEYS if any(row[field.key] is not None for row in metrics)]
    several = len(result.sources) > 1
    correlations = [
        row
        | {
            "interval": _interval(row["spearman_low"], row["spearman_high"]),
            "prior": {True: "yes", False: "no", None: "-"}[row["beats_prior"]],
        }
        for row in metrics
    ]
    has_prior = any(row["beats_prior"] is not None for row in metrics)
    shown = [
        *keys,
        *([TARGETS] if any(row["targets"] != len(result.sources) for row in metrics) else []),
        CORRELATIONS[0],
        *([Field("interval", "90 %", ">")] if several else []),
        *([Field("prior", "beats prior", ">")] if has_prior else []),
        *CORRELATIONS[1:],
    ]
    grids: list[Grid] = [
        Grid("correlation of scores with accuracies", correlations, shown, len(keys)),
        Grid("accuracy of the choice", metrics, (*keys, *CHOICES), len(keys)),
    ]
    if result.reference is not None:
        grids += _gain_grids(result, metrics, keys)
    return [*grids, *_size_grids(result, metrics)]


def _size_grids(result: RankingQualityResult, metrics: Sequence[Row]) -> list[Grid]:
    """How every metric changes with the size of its probe set; nothing where each has one size."""
    by_metric: dict[tuple[str, str | None], dict[int | None, Row]] = {}
    for row in metrics:
        by_metric.setdefault((row["metric"], row["representation"]), {})[row["per_class"]] = row
    several = {key: rows for key, rows in by_metric.items() if len(rows) > 1}
    sizes = sorted({size for rows in several.values() for size in rows}, key=lambda size: (size is None, size or 0))
    if not several:
        return []
    keys = [KEYS[0], *([KEYS[1]] if any(on is not None for _, on in several) else [])]
    columns = [Field(_size_name(size), style=">") for size in sizes]
    measures = [("Spearman correlation", _spearman_text), ("relative accuracy of the first choice", _relative_text)]
    if result.reference is not None:
        scale = _fraction(result)
        title = f"gain of the best of top {result.top} over {result.reference}, points"
        measures.append((title, partial(_top_gain_text, scale=scale)))
    return [
        Grid(
            f"{title}, by images of a class in the probe set",
            [
                {"metric": metric, "representation": on} | {_size_name(size): text(row) for size, row in rows.items()}
                for (metric, on), rows in several.items()
            ],
            (*keys, *columns),
            len(keys),
        )
        for title, text in measures
    ]


def _size_name(size: int | None) -> str:
    return "all" if size is None else str(size)


def _spearman_text(row: Row) -> str:
    return "-" if row["spearman"] is None else f"{row['spearman']:.2f}"


def _relative_text(row: Row) -> str:
    return percent(row["relative_accuracy"])


def _top_gain_text(row: Row, scale: float) -> str:
    return "-" if row["gain_top"] is None else format_gain(scale * row["gain_top"])


def _gain_grids(result: RankingQualityResult, metrics: Sequence[Row], keys: Sequence[Field]) -> list[Grid]:
    """The gains over the reference: the means, and of every target."""
    scale = _fraction(result)
    means = [
        row | {name: _gain_text(row, name, scale) for name in ("first", "top", "best")}
        for row in metrics
        if row["gain_first"] is not None
    ]
    columns = [
        Field("first", "first choice", ">"),
        Field("top", f"best of top {result.top}", ">"),
        Field("best", "best source", ">"),
        Field("gain_caught", "caught", "percent"),
    ]
    title = f"gain over {result.reference}, points" + (", means over targets" if len(result.sources) > 1 else "")
    grids = [Grid(title, means, (*keys, *columns), len(keys))]
    if len(result.sources) == 1:
        return grids
    names = list(dict.fromkeys(row.target or "" for row in result.targets if row.gain is not None))
    by_target: dict[MetricKey, Row] = {}
    best: Row = {"metric": "best source"}
    for row in result.targets:
        if row.gain is not None:
            texts = by_target.setdefault(row.key, _key(row.key))
            texts[f"target {row.target}"] = " ".join(
                format_gain(scale * gain) for gain in (row.gain.first, row.gain.top)
            )
            best[f"target {row.target}"] = format_gain(scale * row.gain.best)
    targets = [Field(f"target {name}", name, ">") for name in names]
    title = f"gain over {result.reference} by target, points: first choice, best of top {result.top}"
    rows = [by_target[row.key] for row in result.metrics if row.key in by_target]
    return [*grids, Grid(title, [*rows, best], (*keys, *targets), len(keys))]


def _fraction(result: RankingQualityResult) -> float:
    """What makes an accuracy a fraction: a table may hold percent."""
    return 1.0 if all(point.accuracy <= 1 for row in result.targets for point in row.points) else 0.01


def _gain_text(row: Row, name: str, scale: float) -> str:
    """A mean gain and its interval in points."""
    gain, low, high = (row[f"gain_{name}{ending}"] for ending in ("", "_low", "_high"))
    return format_gain(scale * gain, *((None, None) if low is None else (scale * low, scale * high)))


def _interval(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.2f} to {high:.2f}"


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
    notes += _prior_notes(result)
    gaining = [row.gain for row in result.metrics if row.gain is not None]
    if gaining:
        notes.append(f"{percent(gaining[0].gaining)} of the sources gain over {result.reference}")
    return notes


def _prior_notes(result: RankingQualityResult) -> list[str]:
    """Which metrics have shown that they know more than how good a source is on other targets."""
    if not any(row.key.metric == PRIOR for row in result.metrics):
        return ["no prior: it needs accuracies on two or more targets"]
    compared = [(str(row.key), row.against_prior) for row in result.metrics if row.against_prior is not None]
    notes = ["prior: a source's mean accuracy on the other targets; it never looks at this one"]
    unshown = [name for name, against in compared if not against.beats]
    if unshown:
        notes.append(f"not shown to be better than the prior: {', '.join(unshown)}")
    return notes
