"""What it costs to find a source by fine-tuning all of them, and by selection (paper 001, its table of run times)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BRUTE_FORCE = "brute force"


@dataclass(frozen=True)
class SourceCost:
    """Seconds of the stages of one source; None where no log tells. `missing`: those that selection or training lack.

    `fine_tuning`: the mean of its `runs` fine-tunings. `score`: higher is better, None if undefined.
    """

    source: str
    score: float | None
    extraction: float | None
    scoring: float | None
    pseudo_labels: float | None
    fine_tuning: float | None
    runs: int
    missing: tuple[str, ...] = ()

    @property
    def selection(self) -> float | None:
        """What it takes to score the source."""
        return add_seconds([self.extraction, self.scoring])


@dataclass(frozen=True)
class PlanCost:
    """A way to a fine-tuned model: the sources that it fine-tunes, and its seconds, None if any of them is not known.

    `relative`: to one fine-tuning; `speedup`: over brute force; `missing`: the stages without a log.
    """

    plan: str
    fine_tuned: tuple[str, ...]
    selection: float | None
    fine_tuning: float | None
    seconds: float | None
    relative: float | None
    speedup: float | None
    missing: tuple[str, ...]


def add_seconds(parts: Sequence[float | None]) -> float | None:
    """The sum; None if a part is not known."""
    return None if None in parts else sum(part for part in parts if part is not None)


def mean_fine_tuning(sources: Sequence[SourceCost]) -> float | None:
    """The seconds of one fine-tuning: the mean over the sources that have been fine-tuned; None without any."""
    seconds = [row.fine_tuning for row in sources if row.fine_tuning is not None]
    return sum(seconds) / len(seconds) if seconds else None


def rank_by_score(sources: Sequence[SourceCost]) -> list[SourceCost]:
    """The sources with a score, best first, ties by name."""
    scored = [(row.score, row) for row in sources if row.score is not None]
    return [row for _, row in sorted(scored, key=lambda pair: (-pair[0], pair[1].source))]


def compare_plans(sources: Sequence[SourceCost], top: int) -> tuple[PlanCost, ...]:
    """Brute force, which fine-tunes every source; and selection, which scores all and fine-tunes the first, or `top`.

    Brute force needs neither features nor scores. A plan with a stage that has no log has no seconds.
    """
    unit = mean_fine_tuning(sources)
    ranked = rank_by_score(sources)
    brute = _plan(BRUTE_FORCE, sources, (), unit, None)
    plans = [brute]
    choices: Mapping[str, Sequence[SourceCost]] = {
        "first choice": ranked[:1],
        f"top {min(top, len(ranked))}": ranked[:top],
    }
    for name, chosen in choices.items():
        if chosen and not any(plan.fine_tuned == tuple(row.source for row in chosen) for plan in plans[1:]):
            plans.append(_plan(name, chosen, sources, unit, brute.seconds))
    return tuple(plans)


def _plan(
    name: str,
    fine_tuned: Sequence[SourceCost],
    selected_from: Sequence[SourceCost],
    unit: float | None,
    brute: float | None,
) -> PlanCost:
    missing = [f"{what} of {row.source}" for row in selected_from for what in _missing_selection(row)]
    missing += [f"fine-tuning of {row.source}" for row in fine_tuned if row.fine_tuning is None]
    selection = add_seconds([row.selection for row in selected_from])
    training = add_seconds([row.fine_tuning for row in fine_tuned])
    seconds = add_seconds([selection, training])
    return PlanCost(
        name,
        tuple(row.source for row in fine_tuned),
        selection,
        training,
        seconds,
        seconds / unit if seconds is not None and unit else None,
        brute / seconds if selected_from and brute is not None and seconds else None,
        tuple(missing),
    )


def _missing_selection(row: SourceCost) -> list[str]:
    stages = (("extraction", row.extraction), ("score", row.scoring))
    return [name for name, seconds in stages if seconds is None]
