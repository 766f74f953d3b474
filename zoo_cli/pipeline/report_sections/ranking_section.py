"""The sections on the sources: their ranking, and how much each weighs."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial

import numpy as np

from zoo_cli import registry, specs
from zoo_cli.config import Config
from zoo_cli.errors import ContractError, UsageError, ZooError
from zoo_cli.pipeline import rank, source_weights
from zoo_cli.pipeline.metric_specs import MetricSpec, size_metrics, split_specs
from zoo_cli.pipeline.rank import Ranking, RankRow
from zoo_cli.pipeline.ranking_spec import RankingSpec, parse_ranking
from zoo_cli.pipeline.report_sections.report_inputs import ReportInputs
from zoo_cli.report.blocks import Block, Column, Missing, Paragraph, Plot, Table
from zoo_cli.report.interval_plot import IntervalPanel, IntervalRow, plot_intervals
from zoo_cli.report.weights_plot import POWERS, plot_weights
from zoo_cli.report.wording import LEVEL, MISSING, show_count, show_name, show_number, show_percent, show_range
from zoo_cli.store import parquet_files, replacement, schemas
from zoo_cli.store.score_store import SIZE, ScoreRow, load_scores

PLASTICITY = "+plasticity"
MOST = 60
"""The number of sources in a plot; tables have all."""


@dataclass(frozen=True, eq=False)
class StoredRanking:
    """The ranking of the scores that are stored, and those scores by source, of a single metric."""

    ranking: Ranking
    scores: dict[str, ScoreRow]


def load_ranking(settings: Config) -> StoredRanking:
    """The ranking as `zoo rank` last made it, from the stored scores; nothing is computed from features.

    Raises UsageError without a ranking, or without the scores that it was made from.
    """
    spec, stored = _load_spec(settings)
    scores = [row for metric in spec.metrics for row in _load_metric(settings, metric)]
    ranking = rank.order_sources(settings, spec, scores)
    heads = {row.source: row for row in stored}
    rows = [
        replace(row, **{key: getattr(heads[row.source], key) for key in ("head", "head_low", "head_high", "head_nll")})
        if row.source in heads
        else row
        for row in ranking.rows
    ]
    return StoredRanking(replace(ranking, rows=rows), {row.source: row for row in scores} if spec.raw else {})


def _load_spec(settings: Config) -> tuple[RankingSpec, list[RankRow]]:
    """How the last ranking was made, and its rows."""
    if not settings.ranking.exists():
        raise UsageError("no ranking of the sources", "zoo rank makes it")
    made_from = parquet_files.read_header(settings.ranking).get("inputs", {})
    metric, on, weighting = (made_from.get(key) for key in ("metric", "on", "weighting"))
    if not isinstance(metric, str) or not isinstance(weighting, str):
        raise ContractError(f"{settings.ranking} does not say how it was made", "zoo rank makes it again")
    names = split_specs(metric.removesuffix(PLASTICITY))
    spec = parse_ranking(names, on if len(names) == 1 else None, weighting, metric.endswith(PLASTICITY))
    spec = replace(spec, metrics=size_metrics(spec.metrics, [made_from.get(SIZE)]))
    known = {field.name for field in fields(RankRow)}
    rows = parquet_files.read_table(settings.ranking, schemas.RANKING).to_pylist()
    return spec, [RankRow(**{key: value for key, value in row.items() if key in known}) for row in rows]


def _load_metric(settings: Config, metric: MetricSpec) -> list[ScoreRow]:
    folder = settings.scores(metric.slug)
    replacement.settle(folder)
    rows = [row for path in sorted(folder.glob("*.parquet")) for row in load_scores(path)]
    if not rows:
        raise UsageError(f"no scores by {metric.method.spec}", f"zoo {metric.command} makes them")
    return rows


def ranking_section(inputs: ReportInputs) -> Iterator[Block]:
    """The blocks of the section on the order of the sources."""
    stored = load_ranking(inputs.settings)
    ranking = stored.ranking
    names = [row.source for row in ranking.rows]
    yield Paragraph(_sentence(show_name(ranking.verdict.sentence, 400), names), "lead")
    rows = [row for row in ranking.rows if row.value is not None][:MOST]
    student = ranking.student
    lines = [
        IntervalRow(row.source, row.value, row.low, row.high, _chance(stored, row.source), row.rank == 1)
        for row in rows
    ]
    if student is not None and student.value is not None:
        lines.append(IntervalRow("student, untrained", student.value, student.low, student.high, student.chance))
    if lines:
        best = lines[0]
        yield Plot(
            "ranking",
            f"Scores of {len(rows)} sources by {ranking.spec.metric}, the best {show_name(best.name)} with "
            f"{show_number(best.value)}",
            f"Score by {ranking.spec.metric} with its {LEVEL} interval. The short upright line is the level of chance: "
            "the same score with the labels shuffled."
            + (f" The {MOST} best of {len(ranking.rows)} sources." if len(rows) < len(ranking.rows) > MOST else ""),
            partial(plot_intervals, [IntervalPanel(f"{ranking.spec.metric} score", lines, percent=False)]),
        )
    yield _ranking_table(stored)
    if ranking.headless_note:
        yield Paragraph(show_name(ranking.headless_note, 400), "note")
    table = _all_scores(inputs.settings)
    if table is not None:
        yield table


def _sentence(text: str, names: Sequence[str]) -> str:
    """A verdict as a sentence; the name of a source at its beginning stays as it is."""
    first = text[:1] if text.startswith(tuple(names)) else text[:1].upper()
    return f"{first}{text[1:]}{'' if text.endswith('.') else '.'}"


def _chance(stored: StoredRanking, source: str) -> float | None:
    row = stored.scores.get(source)
    return None if row is None else row.chance


def _ranking_table(stored: StoredRanking) -> Table:
    columns = (
        "source",
        "rank",
        "score",
        LEVEL,
        "chance",
        "P(best)",
        "fits",
        "labels",
        "weight",
        "head",
        LEVEL,
    )
    rows = [
        (
            show_name(row.source),
            show_count(row.rank) if not row.excluded else "left out",
            show_number(row.value),
            MISSING if row.low is None or row.high is None else f"{row.low:.3f} to {row.high:.3f}".replace("-", "−"),
            show_number(_chance(stored, row.source)),
            show_number(row.p_best, ".2f"),
            row.fit or MISSING,
            show_count(row.labels_needed),
            "no head" if row.teaches == source_weights.NO else show_percent(row.weight),
            show_percent(row.head),
            show_range(row.head_low, row.head_high, 0),
        )
        for row in stored.ranking.rows
    ]
    marked = frozenset(i for i, row in enumerate(stored.ranking.rows) if row.rank == 1)
    return Table(
        "P(best): the probability that the source is the best; labels: about how many would tell whether it fits; "
        "head: how often a ridge head on its features is right",
        tuple(Column(title, i not in (0, 6)) for i, title in enumerate(columns)),
        tuple(rows),
        marked,
    )


def _all_scores(settings: Config) -> Table | None:
    """The scores by every stored metric, with their ranks; None where there is only one."""
    by_metric: dict[str, dict[str, float | None]] = {}
    folder = settings.scores("x").parent
    for path in sorted(folder.glob("[!.]*/*.parquet")):
        try:
            rows = load_scores(path)
        except ZooError:
            continue  # an ensemble, or a damaged file: `zoo verify` names those
        for row in rows:
            by_metric.setdefault(path.parent.name, {})[row.source] = row.value
    if len(by_metric) < 2:
        return None
    names = list(dict.fromkeys(name for values in by_metric.values() for name in values if not name.startswith("@")))
    return Table(
        f"Scores by {len(by_metric)} metrics",
        (Column("source", False), *(Column(show_name(metric, 24)) for metric in by_metric)),
        tuple((show_name(name), *(show_number(by_metric[m].get(name)) for m in by_metric)) for name in names),
        folded=True,
    )


def weights_section(inputs: ReportInputs) -> Iterator[Block]:
    """The blocks of the section on the weights of the sources."""
    ranking = load_ranking(inputs.settings).ranking
    rows = [row for row in ranking.rows if row.rank is not None and row.value is not None]
    if not rows:
        yield Missing("no source has a score to weigh by")
        return
    names = [row.source for row in rows]
    yield Paragraph(
        f"Under {ranking.spec.weighting.text} the student learns from "
        f"{ranking.effective:.1f} effective sources of {len(ranking.rows)}.",
        "lead",
    )
    weights = np.stack([_weigh(ranking.spec, rows, power) for power in POWERS])
    if not weights.any():
        yield Missing("no source has a head, so that none can teach by pseudo-labels")
        return
    first = names[int(weights[-1].argmax())]
    yield Plot(
        "weights",
        f"Weights of {len(names)} sources against the power p; {show_name(first)} has "
        f"{show_percent(float(weights[-1].max()))} at p = {POWERS[-1]:g}",
        "How the weights change with the power p of --weighting: equal at 0, and all on the best source as p grows.",
        partial(plot_weights, names, weights, _chosen_power(ranking.spec)),
    )
    shown = (0.0, 1.0, 2.0, 4.0, 12.0)
    lines = [POWERS.index(power) for power in shown]
    yield Table(
        "Weights at some powers",
        (Column("source", False), *(Column(f"p = {power:g}") for power in shown)),
        tuple((show_name(name), *(show_percent(float(weights[i, s])) for i in lines)) for s, name in enumerate(names)),
        folded=True,
    )


def _weigh(spec: RankingSpec, rows: Sequence[RankRow], power: float) -> np.ndarray:
    """The weights (S,) of the sources at a power."""
    return source_weights.weigh_sources(
        specs.WeightingSpec.parse(f"p={power:g}").method,
        np.array([np.nan if row.value is None else row.value for row in rows]),
        [row.source for row in rows],
        {row.source: row.teaches for row in rows},
        zero_means_none=spec.zero_means_none,
        metric=spec.metric,
        min_weight=registry.DEFAULT_MIN_WEIGHT,
    ).values


def _chosen_power(spec: RankingSpec) -> float | None:
    method = spec.weighting.method
    fixed = {"equal": 0.0, "nearest": math.inf}
    return fixed.get(method.name, method.params.get("p") if method.name == "power" else None)
