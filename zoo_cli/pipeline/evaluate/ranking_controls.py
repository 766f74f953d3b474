"""What a workspace says of its sources without their features on the target: their size, and how well heads fit."""

import math
from collections.abc import Sequence

from zoo_cli.config import Config
from zoo_cli.errors import ContractError
from zoo_cli.evaluation.controls import DEPTH, PARAMETERS
from zoo_cli.evaluation.score_tables import MetricKey, Score
from zoo_cli.store import files
from zoo_cli.store.head_store import DOCUMENT
from zoo_cli.store.source_record import load_source_record


def read_sizes(settings: Config, sources: Sequence[str]) -> dict[str, dict[str, float]]:
    """The number of parameters and the depth of the sources that have them, by control and source."""
    sizes: dict[str, dict[str, float]] = {PARAMETERS: {}, DEPTH: {}}
    declared = {source.name: source.depth for source in settings.sources}
    for name in sources:
        if not (settings.features(name) / "_source.json").exists():
            continue
        record = load_source_record(settings, name)
        depth = declared.get(name) or record.depth
        for control, value in ((PARAMETERS, record.parameters), (DEPTH, depth)):
            if value is not None:
                sizes[control][name] = float(value)
    return {control: row for control, row in sizes.items() if row}


def read_head_scores(settings: Config, target: str) -> list[Score]:
    """The leave-one-out log-likelihood of each source's head, higher is better, as the scores of one metric a head.

    Pools of the same head have the same heads: the first is read.
    """
    scores: dict[str, list[Score]] = {}
    for path in sorted(settings.labels_root.glob(f"pseudo/head=*/{DOCUMENT}")):
        record = files.read_json(path)
        try:
            key = MetricKey(f"head:{record['head']}", "features")
            scores.setdefault(
                key.metric,
                [
                    Score(key, target, "", row["source"], math.nan if row["nll"] is None else -row["nll"], path)
                    for row in record["sources"]
                ],
            )
        except (KeyError, TypeError):
            raise ContractError(f"{path} is damaged", "zoo pseudo-label --head makes it again") from None
    return [score for rows in scores.values() for score in rows]
