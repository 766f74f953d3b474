"""The logs of how long the scores of a command took."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from zoo_cli.pipeline.score_target import PendingScore
from zoo_cli.pipeline.scoring import Score
from zoo_cli.store import stage_log


def seconds_logs(items: Sequence[PendingScore], scores: Mapping[PendingScore, Score]) -> dict[Path, str]:
    """By their files, the logs of how long scores took.

    Each names the metrics that were computed of its source in the same seconds.
    """
    metrics: dict[str, list[str]] = {}
    for item, score in scores.items():
        if score.seconds is not None:
            metrics.setdefault(item.source.name, []).append(item.spec.slug)
    logs = {}
    for item in items:
        if (seconds := scores[item].seconds) is not None:
            same = metrics[item.source.name]
            text = stage_log.seconds_text(seconds, same if len(same) > 1 else ())
            logs[stage_log.log_file(item.path)] = text
    return logs
