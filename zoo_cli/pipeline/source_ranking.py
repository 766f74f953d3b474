"""A ranking: sources in order by one metric or several, how sure that is, their weights, and the verdict."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_cli import specs
from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.pipeline import leakage, score, source_weights
from zoo_cli.pipeline.metric_scores import MetricSpec, parse_metric
from zoo_cli.store import feature_store, files, schemas

if TYPE_CHECKING:
    import numpy as np

    from zoo_cli.ranking.verdict import Verdict

Row = dict[str, Any]


@dataclass(frozen=True)
class RankingSpec:
    """What a ranking is by: one metric, or several as their mean z-score; the capacity term; the weighting."""

    questions: tuple[MetricSpec, ...]
    weighting: str
    method: specs.Method
    plasticity: bool = False

    @property
    def metric(self) -> str:
        """The metrics' specs, as in the files."""
        told = ",".join(question.method.spec for question in self.questions)
        return f"{told}+plasticity" if self.plasticity else told

    @property
    def name(self) -> str:
        """The metrics as a part of a file name."""
        told = "+".join(question.name for question in self.questions)
        return f"{told}+plasticity" if self.plasticity else told

    @property
    def raw(self) -> bool:
        """Whether the value is a metric's own score."""
        return len(self.questions) == 1 and not self.plasticity

    @property
    def zero_means_none(self) -> bool:
        """Whether a negative value is no similarity. z-scores are centred: their zero means nothing."""
        return self.raw and self.questions[0].facts.zero_means_none


@dataclass(frozen=True)
class Ranking:
    """An answered question: one row a source in order, the verdict, and where the student itself would stand.

    `beats`: how likely each source is to be better than each other one.
    """

    asked: RankingSpec
    rows: list[Row]
    effective: float
    student: Row | None
    verdict: "Verdict"
    beats: dict[str, dict[str, float | None]]

    @property
    def weights(self) -> dict[str, float]:
        """The weight of every source."""
        return {row["source"]: row["weight"] for row in self.rows}


def parse_ranking(metrics: Sequence[str], on: str | None, weighting: str, plasticity: bool = False) -> RankingSpec:
    """What --metric, --on and --weighting ask. Metrics come one by one or with commas between them."""
    texts = [spec for text in metrics for spec in split_metrics(text)]
    if len(set(texts)) < len(texts):
        raise UsageError("a metric is named twice", "once is enough")
    questions = tuple(parse_metric(spec, on, strict=len(texts) == 1) for spec in texts)
    if len({question.on for question in questions}) > 1:
        told = ", ".join(f"{question.method.name} reads {question.on}" for question in questions)
        raise UsageError(f"one ranking uses one representation: {told}", "--on probs where all of them read it")
    return RankingSpec(questions, weighting, specs.resolve("weighting", weighting), plasticity)


def split_metrics(text: str) -> list[str]:
    """`parc:pca=32,cosine=true,lfc` in its specs: a piece `key=value` belongs to the spec before it."""
    specs: list[str] = []
    for piece in text.split(","):
        if specs and "=" in piece and ":" not in piece.partition("=")[0]:
            specs[-1] += f",{piece}"
        else:
            specs.append(piece.strip())
    return specs


def rank_sources(settings: Config, asked: RankingSpec, chosen: Sequence[Source]) -> Ranking:
    """The ranking of the workspace's sources, scored first where they are not."""
    return order_sources(settings, asked, score.score_sources(settings, asked.questions, chosen))


def rank_scores_file(path: Path, weighting: str, settings: Config, among: Sequence[str] | None = None) -> Ranking:
    """The ranking of the sources in a scores file, all of them or those named."""
    everyone = files.read_table(path, schemas.SCORES).to_pylist()
    rows = [row for row in everyone if among is None or row["source"] in among]
    missing = sorted(set(among or ()) - {row["source"] for row in rows})
    if missing or not rows:
        raise ContractError(f"{path} has no score of {', '.join(missing) or 'any source'}")
    first = rows[0]
    spec = f"{first['metric']}:{first['params']}" if first["params"] else str(first["metric"])
    return order_sources(settings, parse_ranking([spec], first["representation"], weighting), rows)


def order_sources(settings: Config, asked: RankingSpec, rows: Sequence[Row]) -> Ranking:
    """Put scored sources in order: best first, ties together, undefined ones after them, excluded ones last.

    `rows`: those of the scores files, every source once for each metric.
    """
    import numpy as np

    from zoo_cli.ranking import uncertainty, verdict

    names = list(dict.fromkeys(row["source"] for row in rows if row["source"] != STUDENT))
    barred = leakage.excluded_sources(settings, names)
    ranked = [name for name in names if name not in barred]
    table = _Table.of(rows, ranked, asked, _depths(settings, ranked) if asked.plasticity else None)
    values, draws = table.values[:-1], table.draws[:-1]
    places = uncertainty.competition_ranks(values)
    chances, intervals = uncertainty.best_probability(draws), uncertainty.rank_intervals(draws)
    given = source_weights.weigh_sources(asked.method, values, ranked, asked.zero_means_none, asked.metric)
    answered = []
    for s, name in enumerate(ranked):
        known = bool(np.isfinite(values[s]))
        answered.append(
            _line(asked, name)
            | {
                "rank": int(places[s]) if known else None,
                "rank_low": _whole(float(intervals[s, 0])),
                "rank_high": _whole(float(intervals[s, 1])),
                "value": _known(float(values[s])),
                "low": _known(float(table.low[s])),
                "high": _known(float(table.high[s])),
                "p_best": float(chances[s]) if np.isfinite(draws[s]).all() else None,
                "weight": float(given[s]),
                "excluded": None if known else table.reasons[s],
                "borda": None if table.borda is None else float(table.borda[s]),
            }
        )
    answered += [_line(asked, name) | {"excluded": barred[name]} for name in names if name in barred]
    answered.sort(key=lambda row: (row["rank"] is None, row["source"] in barred, row["rank"] or 0, row["source"]))
    yardstick = (float(table.values[-1]), table.draws[-1])
    found = verdict.judge_sources(ranked, values, draws, table.chance[:-1], yardstick)
    effective = uncertainty.effective_number(given) if given.any() else 0.0
    wins = {
        name: {other: _known(float(p)) for other, p in zip(ranked, line, strict=True) if other != name}
        for name, line in zip(ranked, uncertainty.beats(draws), strict=True)
    }
    return Ranking(asked, answered, effective, table.student(rows), found, wins)


@dataclass(frozen=True)
class _Table:
    """The ranked sources: values, interval ends and chance levels (S,), replicates (S, B). NaN is what is not known.

    The student's row is the last of each: S counts it.
    """

    values: "np.ndarray"
    low: "np.ndarray"
    high: "np.ndarray"
    chance: "np.ndarray"
    draws: "np.ndarray"
    borda: "np.ndarray | None"
    reasons: list[str]

    @classmethod
    def of(cls, rows: Sequence[Row], names: Sequence[str], asked: RankingSpec, depth: "np.ndarray | None") -> "_Table":
        """One metric as it is, or several by their z-scores over the sources, with the student on that scale."""
        import numpy as np

        from zoo_cli.ranking import aggregation, uncertainty

        found = {(row["metric"], row["params"], row["source"]): row for row in rows}
        empty = dict.fromkeys(("value", "low", "high", "chance", "draws"))
        nothing: Row = {**empty, "status": "not", "reason": "scored"}
        per = [
            [found.get((q.method.name, q.method.spec.partition(":")[2], name), nothing) for name in [*names, STUDENT]]
            for q in asked.questions
        ]
        count = max((len(row["draws"]) for line in per for row in line if row["draws"]), default=1)
        blank = [np.nan] * count
        values, low, high, chance = (
            np.array([[np.nan if row[key] is None else row[key] for row in line] for line in per], dtype=np.float64)
            for key in ("value", "low", "high", "chance")
        )
        draws = np.array([[row["draws"] or blank for row in line] for line in per], dtype=np.float64)
        reasons = [
            next((f"{line[s]['status']}: {line[s]['reason']}" for line in per if line[s]["value"] is None), "")
            for s in range(len(names))
        ]
        if asked.raw:
            return cls(values[0], low[0], high[0], chance[0], draws[0], None, reasons)
        borda = aggregation.borda(values[:, :-1])
        joined, level, copies = (
            aggregation.mean_z_draws(values[:, :-1], some) for some in (values[:, :, None], chance[:, :, None], draws)
        )
        if depth is not None:
            joined, level, copies = (part + depth[:, None] for part in (joined, level, copies))
            reasons = [
                told or ("" if known else "undefined: no depth declared")
                for told, known in zip(reasons, np.isfinite(depth), strict=False)
            ]
        middle = joined[:, 0]
        reach = uncertainty.QUANTILE * copies.std(axis=1, ddof=1) if count > 1 else np.full(len(middle), np.nan)
        return cls(middle, middle - reach, middle + reach, level[:, 0], copies, borda, reasons)

    def student(self, rows: Sequence[Row]) -> Row | None:
        """Where the student's starting features would stand among the ranked sources; None where nobody scored them."""
        own = next((row for row in rows if row["source"] == STUDENT), None)
        if own is None:
            return None
        parts = (self.values[-1], self.low[-1], self.high[-1], self.chance[-1])
        value, low, high, chance = (_known(float(part)) for part in parts)
        place = None if value is None else 1 + int((self.values[:-1] > value).sum())
        return {"value": value, "low": low, "high": high, "chance": chance, "reason": own["reason"], "rank": place}


def _line(asked: RankingSpec, name: str) -> Row:
    keys = ("rank", "rank_low", "rank_high", "value", "low", "high", "p_best", "excluded", "borda")
    empty = dict.fromkeys(keys)
    return {
        "source": name,
        "metric": asked.metric,
        "representation": asked.questions[0].on,
        "weight": 0.0,
        **empty,
    }


def _depths(settings: Config, names: Sequence[str]) -> "np.ndarray":
    """The capacity terms (S + 1,) of the sources and the student, in fiftieths of their declared depth."""
    import numpy as np

    from zoo_cli.ranking.aggregation import LAYERS

    declared = {source.name: source.depth for source in settings.models}
    found = []
    for name in [*names, STUDENT]:
        depth = declared.get(name)
        if name not in declared and (settings.features(name) / "source.json").exists():
            depth = feature_store.load_source_record(settings, name).get("depth")
        found.append(np.nan if depth is None else depth / LAYERS)
    return np.array(found)


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _whole(value: float) -> int | None:
    return int(value) if math.isfinite(value) else None
