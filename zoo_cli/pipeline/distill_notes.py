"""What `zoo distill` says before cross-task training: that it runs against the verdict, or that heads do better."""

from collections.abc import Sequence

from zoo_cli import console
from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.pipeline import rank
from zoo_cli.pipeline.rank import Ranking
from zoo_cli.pipeline.ranking_spec import RankingSpec
from zoo_cli.pipeline.source_heads import load_current_pool, score_heads
from zoo_cli.quantities import percent
from zoo_cli.ranking.verdict import join_names

MOST = 0.5
"""The share of the weight from which sources that do not fit are worth a line."""


def say_notes(settings: Config, rankings: Sequence[RankingSpec], sources: Sequence[Source]) -> None:
    """Print, from stored scores and features alone, a line for each weighting against the verdict, and one on heads."""
    ranked = [rank.rank_sources(settings, spec, sources) for spec in rankings]
    notes = [describe_misfits(ranking) for ranking in ranked]
    for note in dict.fromkeys([*notes, describe_heads(settings)]):
        if note is not None:
            console.say(note)


def describe_misfits(ranking: Ranking) -> str | None:
    """The sources that do not fit but have most of the weight, in one line; None unless they have at least half."""
    misfits = [row for row in ranking.rows if row.fit == "no" and row.weight > 0]
    share = sum(row.weight for row in misfits)
    if share < MOST:
        return None
    misfits.sort(key=lambda row: -row.weight)
    names = join_names([row.source for row in misfits])
    return (
        f"against the verdict of zoo rank: {names} {'does' if len(misfits) == 1 else 'do'} not fit this task, with "
        f"{percent(share, 0)} of the weight ({ranking.spec.weighting.text})"
    )


def describe_heads(settings: Config) -> str | None:
    """The stored pool of heads in one line, where it is estimated better than a head on the student's own features."""
    pool = load_current_pool(settings)
    if pool is None or pool.estimate.accuracy is None or pool.estimate.low is None:
        return None
    own = score_heads(settings, [source for source in settings.models if source.name == STUDENT]).get(STUDENT)
    if own is None or pool.estimate.low <= own.accuracy:
        return None
    return (
        f"heads on the sources' features are about {percent(pool.estimate.accuracy)} right, a head on the "
        f"student's own {percent(own.accuracy)}: zoo distill --objective heads learns from them"
    )
