"""`zoo rank`: the order of the sources, how sure it is, their weights in the student, and what to do about it."""

import importlib.util
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from zoo_cli import console
from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.errors import ContractError, UsageError, ZooError
from zoo_cli.metrics.collapse import COLLAPSED
from zoo_cli.pipeline import leakage, score, source_weights
from zoo_cli.pipeline.image_overlap import Overlap, count_overlaps, refuse_overlaps, warn_of_overlaps
from zoo_cli.pipeline.metric_specs import ScoreConfig, parse_metrics, size_metrics
from zoo_cli.pipeline.ranking_spec import RankingSpec
from zoo_cli.pipeline.score_table import ScoreTable, StudentPlace
from zoo_cli.pipeline.source_heads import HeadScore, load_current_pool, score_heads
from zoo_cli.pipeline.source_notes import note_sources
from zoo_cli.ranking import standings, verdict
from zoo_cli.ranking.aggregation import LAYERS
from zoo_cli.ranking.verdict import Verdict
from zoo_cli.store import files, parquet_files, replacement, schemas
from zoo_cli.store.columns import arrow_schema
from zoo_cli.store.head_store import HeadRecord
from zoo_cli.store.score_store import SIZE, ScoreRow, load_scores
from zoo_cli.store.source_record import has_source_record, load_source_record


@dataclass(frozen=True)
class RankRow:
    """One source of a ranking, see `schemas.RANKING`; `borda` only with several metrics, `note` only if one has it."""

    source: str
    metric: str
    representation: str
    weight: float = 0.0
    rank: int | None = None
    rank_low: int | None = None
    rank_high: int | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    p_best: float | None = None
    excluded: str | None = None
    borda: float | None = None
    teaches: str = source_weights.UNKNOWN
    fit: str | None = None
    labels_needed: int | None = None
    head: float | None = None
    head_low: float | None = None
    head_high: float | None = None
    head_nll: float | None = None
    note: str | None = None


@dataclass(frozen=True)
class Ranking:
    """Sources in order, their effective number, the verdict, and the place that the student would have.

    `beats`: how likely each source is to be better than each other one. `dropped`: weights below the least one. Of a
    workspace: `student_head`, the ridge head on the student's starting features, `pool`, the stored pool of heads, and
    `labels`, the label set, None for the main one. `overlaps`: the test images that each source was trained on.
    """

    spec: RankingSpec
    rows: list[RankRow]
    effective: float
    student: StudentPlace | None
    verdict: Verdict
    beats: dict[str, dict[str, float | None]]
    dropped: tuple[float, ...] = ()
    student_head: HeadScore | None = None
    pool: HeadRecord | None = None
    labels: str | None = None
    overlaps: tuple[Overlap, ...] = ()

    @property
    def headless_note(self) -> str | None:
        """What becomes of the ranked sources without a head, in one line; None if all have one."""
        headless = [row.source for row in self.rows if row.teaches == source_weights.NO and row.rank is not None]
        if not headless:
            return None
        best = self.rows[0].source if self.rows[0].source in headless else None
        taken = max(self.rows, key=lambda row: row.weight)
        method = self.spec.weighting.method
        single = method.name == "nearest" or method.params.get("p") == math.inf
        return source_weights.describe_headless(headless, best, taken.source if taken.weight else None, single)

    @property
    def weights(self) -> dict[str, float]:
        """The weight of every source."""
        return {row.source: row.weight for row in self.rows}

    def to_arrow(self) -> pa.Table:
        """The rows as an Arrow table, as ranking.parquet holds them."""
        empty = {"borda": self.spec.raw, "note": not any(row.note for row in self.rows)}
        schema = arrow_schema(schemas.RANKING, without=[name for name, unused in empty.items() if unused])
        return pa.Table.from_pylist([asdict(row) for row in self.rows], schema=schema)

    def to_pandas(self) -> Any:
        """The rows as a pandas DataFrame. Raises ZooError if pandas is not installed."""
        if importlib.util.find_spec("pandas") is None:
            raise ZooError("to_pandas needs pandas", "pip install pandas, or use to_arrow")
        return self.to_arrow().to_pandas()


def rank(
    settings: Config, spec: RankingSpec, scores: ScoreConfig | Path, out: Path | None = None, *, strict: bool = False
) -> Ranking:
    """Rank sources, and score them first if necessary.

    `scores`: which, of the metrics of `spec`; or a scores file, whose metric is then the one that counts. In a
    workspace the ranking and its weights are written, to `out` in place of ranking.parquet; elsewhere only if `out`
    is given. Warns of sources that were trained on test images. Raises UsageError if an input is stale, and with
    `strict` ContractError for such a source.
    """
    if isinstance(scores, Path):
        ranking = rank_scores_file(settings, spec, scores)
    else:
        ranking = order_sources(settings, spec, score.score(settings, scores).rows, scores.features)
        if not scores.features:
            ranking = _with_overlaps(settings, ranking, scores.sources, strict=strict)
            ranking = _with_heads(settings, ranking, scores.sources)
            out = out or settings.ranking
    if out is not None:
        write_ranking(settings, ranking, out)
    return ranking


def rank_sources(settings: Config, spec: RankingSpec, sources: Sequence[Source]) -> Ranking:
    """The ranking of sources of the workspace that have been scored."""
    scores = score.load_result(settings, ScoreConfig(spec.metrics, tuple(sources)))
    return order_sources(settings, spec, scores.rows)


def rank_scores_file(
    settings: Config, spec: RankingSpec, path: Path, among: Sequence[str] | None = None, pseudo: bool = False
) -> Ranking:
    """The ranking of the sources in a scores file, or a folder of them: all of them, or those named.

    By the weighting of `spec`, and the metric of the file. `pseudo`: the sources have pseudo-labels, whatever a
    workspace says of sources of these names.
    Raises UsageError where the files of a folder are of different probe sets or seeds, ContractError for no score.
    """
    replacement.settle(path)
    paths = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    all_rows = [row for file in paths for row in load_scores(file)]
    rows = [row for row in all_rows if among is None or row.source in among]
    missing = sorted(set(among or ()) - {row.source for row in rows})
    if missing or not rows:
        raise ContractError(f"{path} has no score of {', '.join(missing) or 'any source'}")
    _check_same_probe(paths, path, rows[0].spec)
    metrics = size_metrics(parse_metrics([rows[0].spec], rows[0].representation), [rows[0].per_class])
    teaching = dict.fromkeys((row.source for row in rows), source_weights.YES) if pseudo else None
    return order_sources(settings, replace(spec, metrics=metrics), rows, teaching=teaching)


def order_sources(
    settings: Config,
    spec: RankingSpec,
    scores: Sequence[ScoreRow],
    features: Sequence[Path] = (),
    teaching: Mapping[str, str] | None = None,
) -> Ranking:
    """Put scored sources in order: best first, ties together, undefined ones after them, excluded ones last.

    `scores`: every source once for each metric. `features`: their stored outputs, if they are given by path.
    `teaching`: whether each can teach by pseudo-labels, by default as what is stored of it says.
    """
    names = list(dict.fromkeys(row.source for row in scores if row.source != STUDENT))
    excluded = leakage.excluded_sources(settings, names)
    ranked = [name for name in names if name not in excluded]
    depth = _depths(settings, ranked) if spec.plasticity else None
    table = ScoreTable.of(scores, ranked, [metric.method.spec for metric in spec.metrics], spec.raw, depth)
    values, draws = table.values[:-1], table.draws[:-1]
    if teaching is None:
        teaching = source_weights.check_teaching(settings, names, features)
        collapsed = {row.source for row in scores if row.reason == COLLAPSED}
        teaching |= dict.fromkeys(collapsed - {STUDENT}, source_weights.NO)
    weighed = source_weights.weigh_sources(
        spec.weighting.method,
        values,
        ranked,
        teaching,
        zero_means_none=spec.zero_means_none,
        metric=spec.metric,
        min_weight=spec.min_weight,
    )
    weights = weighed.values
    rows = _rows(spec, table, ranked, weights)
    rows += [_row(spec, name, excluded=excluded[name]) for name in names if name in excluded]
    notes = {} if features else note_sources(settings, names)
    rows = [replace(row, teaches=teaching[row.source], note=notes.get(row.source)) for row in rows]
    rows.sort(key=lambda row: (row.rank is None, row.source in excluded, row.rank or 0, row.source))
    student = table.verdict_scores(slice(-1, None))
    conclusion = verdict.judge_sources(
        ranked, table.verdict_scores(slice(-1)), student, size=table.size, classes=table.classes, margin=spec.margin
    )
    rows = [
        replace(row, fit=conclusion.fit.get(row.source), labels_needed=conclusion.labels_needed.get(row.source))
        for row in rows
    ]
    wins = {
        name: {other: _defined(p) for other, p in zip(ranked, line, strict=True) if other != name}
        for name, line in zip(ranked, standings.beats(draws).tolist(), strict=True)
    }
    return Ranking(
        spec,
        rows,
        standings.effective_number(weights) if weights.any() else 0.0,
        table.student(scores),
        conclusion,
        wins,
        weighed.dropped,
    )


def _with_overlaps(settings: Config, ranking: Ranking, sources: Sequence[Source], *, strict: bool) -> Ranking:
    """The ranking with the test images that each source, if it is not excluded, was trained on."""
    models = score.with_student(settings, sources)
    excluded = leakage.find_leaks(settings, [source.name for source in models])
    overlaps = count_overlaps(settings, [source for source in models if source.name not in excluded])
    warn_of_overlaps(overlaps)
    if strict:
        refuse_overlaps(overlaps)
    return replace(ranking, overlaps=overlaps)


def _with_heads(settings: Config, ranking: Ranking, sources: Sequence[Source]) -> Ranking:
    """The ranking with the ridge head of each source that is not excluded."""
    ranked = {row.source for row in ranking.rows if row.rank is not None}
    heads = score_heads(
        settings, [source for source in score.with_student(settings, sources) if source.name in {*ranked, STUDENT}]
    )
    rows = [
        replace(row, head=head.accuracy, head_low=head.low, head_high=head.high, head_nll=head.nll)
        if (head := heads.get(row.source)) is not None
        else row
        for row in ranking.rows
    ]
    pool = load_current_pool(settings)
    return replace(ranking, rows=rows, student_head=heads.get(STUDENT), pool=pool, labels=settings.labels)


def write_ranking(settings: Config, ranking: Ranking, path: Path) -> None:
    """Write the ranking and its weights. They are views of the scores, and always replaced."""
    spec = ranking.spec
    inputs: dict[str, Any] = {"metric": spec.metric, "on": spec.representation, "weighting": spec.weighting.text}
    if (size := spec.metrics[0].per_class) is not None:
        inputs[SIZE] = size
    parquet_files.write_table(path, ranking.to_arrow(), schemas.RANKING, inputs)
    files.write_json(
        path.with_name("weights.json"),
        {
            "weighting": spec.weighting.text,
            "metric": spec.metric,
            "effective_sources": ranking.effective,
            "sources": [{"source": row.source, "score": row.value, "weight": row.weight} for row in ranking.rows],
        },
    )
    console.detail(f"wrote {path} and {path.with_name('weights.json')} in {settings.root}")


def _check_same_probe(paths: Sequence[Path], folder: Path, metric: str) -> None:
    """Replicates pair by position: raise UsageError unless the files of a folder are of one probe set and one seed."""
    inputs = [parquet_files.read_header(path).get("inputs", {}) for path in paths] if len(paths) > 1 else []
    if len({(str(made_from.get("probe")), str(made_from.get("seed"))) for made_from in inputs}) > 1:
        raise UsageError(
            f"{folder} has scores of different probe sets or seeds",
            f"zoo score --metric {metric} --refresh; remove the files of sources that are gone",
        )


def _rows(spec: RankingSpec, table: ScoreTable, names: Sequence[str], weights: np.ndarray) -> list[RankRow]:
    values, draws = table.values[:-1], table.draws[:-1]
    places = standings.competition_ranks(values)
    chances, intervals = standings.best_probability(draws), standings.rank_intervals(draws)
    rows = []
    for s, name in enumerate(names):
        defined = bool(np.isfinite(values[s]))
        rows.append(
            _row(
                spec,
                name,
                weight=float(weights[s]),
                rank=int(places[s]) if defined else None,
                rank_low=_whole(float(intervals[s, 0])),
                rank_high=_whole(float(intervals[s, 1])),
                value=_defined(float(values[s])),
                low=_defined(float(table.low[s])),
                high=_defined(float(table.high[s])),
                p_best=float(chances[s]) if np.isfinite(draws[s]).all() else None,
                excluded=None if defined else table.reasons[s],
                borda=None if table.borda is None else float(table.borda[s]),
            )
        )
    return rows


def _row(spec: RankingSpec, name: str, **values: object) -> RankRow:
    return RankRow(name, spec.metric, spec.representation, **values)  # type: ignore[arg-type]


def _depths(settings: Config, names: Sequence[str]) -> np.ndarray:
    """The capacity terms (S + 1,) of the sources and the student, in fiftieths of their declared depth."""
    declared = {source.name: source.depth for source in settings.models}
    terms = []
    for name in [*names, STUDENT]:
        depth = declared.get(name)
        if name not in declared and has_source_record(settings, name):
            depth = load_source_record(settings, name).depth
        terms.append(np.nan if depth is None else depth / LAYERS)
    return np.array(terms)


def _defined(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _whole(value: float) -> int | None:
    return int(value) if math.isfinite(value) else None
