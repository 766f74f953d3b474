"""The scores of the ranked sources as arrays: of one metric, or of several put on one scale."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from zoo_cli.config import STUDENT
from zoo_cli.ranking import aggregation, uncertainty
from zoo_cli.ranking.verdict import Scores
from zoo_cli.store.score_store import ScoreRow


@dataclass(frozen=True)
class StudentPlace:
    """The score of the student's starting features, and the rank it would have; None if undefined."""

    value: float | None
    low: float | None
    high: float | None
    chance: float | None
    reason: str | None
    rank: int | None


@dataclass(frozen=True)
class ScoreTable:
    """The ranked sources: values, interval ends and chance levels (S,), replicates (S, B). NaN if undefined.

    `errors` (S,): standard errors of the chance levels, of the values, and of those on half the probe set. The
    student's row is the last of each: S counts it. `size`, `classes`: of the probe set.
    """

    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    chance: np.ndarray
    errors: tuple[np.ndarray, np.ndarray, np.ndarray]
    draws: np.ndarray
    borda: np.ndarray | None
    reasons: list[str]
    size: int
    classes: int

    @classmethod
    def of(
        cls,
        scores: Sequence[ScoreRow],
        names: Sequence[str],
        metrics: Sequence[str],
        raw: bool,
        depth: np.ndarray | None,
    ) -> Self:
        """One metric as it is (`raw`), or several by their z-scores over the sources, with the student on that scale.

        `metrics`: their specs; `depth` (S,): the capacity term to add, if any.
        """
        by_key = {(row.spec, row.source): row for row in scores}
        lines = [[by_key.get((spec, source)) for source in [*names, STUDENT]] for spec in metrics]
        count = max((len(row.draws) for line in lines for row in line if row is not None and row.draws), default=1)
        values, low, high, chance, chance_error, error, error_half = (
            np.array([[_number(row, key) for row in line] for line in lines], dtype=np.float64)
            for key in ("value", "low", "high", "chance", "chance_error", "error", "error_half")
        )
        size = max((row.n for row in scores), default=0), max((row.classes for row in scores), default=0)
        blank = [np.nan] * count
        draws = np.array(
            [[blank if row is None else row.draws or blank for row in line] for line in lines], dtype=np.float64
        )
        reasons = [next((_reason(line[s]) for line in lines if _reason(line[s])), "") for s in range(len(names))]
        if raw:
            errors = chance_error[0], error[0], error_half[0]
            return cls(values[0], low[0], high[0], chance[0], errors, draws[0], None, reasons, *size)
        borda = aggregation.borda(values[:, :-1])
        joined, level, copies = (
            aggregation.mean_z_draws(values[:, :-1], part) for part in (values[:, :, None], chance[:, :, None], draws)
        )
        if depth is not None:
            joined, level, copies = (part + depth[:, None] for part in (joined, level, copies))
            reasons = [
                reason or ("" if declared else "undefined: no depth declared")
                for reason, declared in zip(reasons, np.isfinite(depth), strict=False)
            ]
        middle = joined[:, 0]
        reach = uncertainty.QUANTILE * copies.std(axis=1, ddof=1) if count > 1 else np.full(len(middle), np.nan)
        unknown = np.full(len(middle), np.nan)
        errors = unknown, unknown, unknown
        return cls(middle, middle - reach, middle + reach, level[:, 0], errors, copies, borda, reasons, *size)

    def verdict_scores(self, rows: slice) -> Scores:
        """The scores of these rows as the verdict reads them."""
        parts = (self.values, self.draws, self.chance, *self.errors)
        return Scores(*(part[rows] for part in parts))

    def student(self, scores: Sequence[ScoreRow]) -> StudentPlace | None:
        """Where the student's starting features would stand among the ranked sources; None if they are not scored."""
        own = next((row for row in scores if row.source == STUDENT), None)
        if own is None:
            return None
        parts = (self.values[-1], self.low[-1], self.high[-1], self.chance[-1])
        value, low, high, chance = (float(part) if math.isfinite(part) else None for part in parts)
        rank = None if value is None else 1 + int((self.values[:-1] > value).sum())
        return StudentPlace(value, low, high, chance, own.reason, rank)


def _number(row: ScoreRow | None, key: str) -> float:
    value = None if row is None else getattr(row, key)
    return math.nan if value is None else float(value)


def _reason(row: ScoreRow | None) -> str:
    """Why a source has no value; empty if it has one."""
    if row is None:
        return "not: scored"
    return f"{row.status}: {row.reason}" if row.value is None else ""
