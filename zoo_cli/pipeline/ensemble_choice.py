"""The ensemble of sources that a metric of ensembles chooses, stored beside the scores of single sources."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zoo_cli import registry
from zoo_cli.config import STUDENT
from zoo_cli.errors import ContractError
from zoo_cli.metrics.probe import Probe
from zoo_cli.pipeline.metric_specs import MetricSpec
from zoo_cli.ranking import ensembles, uncertainty
from zoo_cli.ranking.ensembles import MemberPart, Step
from zoo_cli.ranking.uncertainty import Replicates
from zoo_cli.store import files
from zoo_cli.store.provenance import Inputs
from zoo_cli.store.records import build_record


@dataclass(frozen=True)
class Ensemble:
    """The sources of an ensemble in the order of choice, its score, and where it stopped growing.

    `stopped_at`: the next source, whose gain is less than its uncertainty; None if no source is left. `left_out`:
    sources that may not enter, each with the reason.
    """

    metric: str
    score: float | None
    sources: Sequence[Step]
    stopped_at: Step | None
    left_out: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """The document, see `schemas.DOCUMENTS`."""
        return {
            "metric": self.metric,
            "score": self.score,
            "sources": [vars(step) for step in self.sources],
            "stopped_at": None if self.stopped_at is None else vars(self.stopped_at),
            "left_out": dict(self.left_out),
        }


def member_part(spec: MetricSpec, probe: Probe, replicates: Replicates) -> MemberPart | None:
    """What a source contributes to an ensemble; None if the metric scores only single sources."""
    if not spec.entry.joined:
        return None
    return ensembles.member_part(registry.import_target(spec.entry.member), probe, replicates.half_samples.parts)


def choose_ensemble(
    spec: MetricSpec,
    parts: Mapping[str, MemberPart],
    replicates: Replicates,
    *,
    seed: int,
    left_out: Mapping[str, str],
) -> Ensemble:
    """The ensemble that grows from the best source. Sources of `left_out`, and the student, may not enter."""

    def interval(gain: float, gains: np.ndarray) -> tuple[float | None, float | None]:
        estimate = uncertainty.half_sample_interval(gain, gains, replicates.half_samples.share, seed=seed)
        return estimate.low, estimate.high

    candidates = {name: part for name, part in parts.items() if name != STUDENT and name not in left_out}
    steps, stopped = ensembles.grow_ensemble(candidates, registry.import_target(spec.entry.joined), interval)
    return Ensemble(spec.method.spec, steps[-1].score if steps else None, steps, stopped, left_out)


def write_ensemble(path: Path, ensemble: Ensemble, inputs: Inputs) -> None:
    """Store an ensemble. `inputs`: what it was made from."""
    files.write_sealed_json(path, {**ensemble.to_json(), "inputs": dict(inputs)})


def load_ensemble(path: Path) -> Ensemble:
    """The ensemble as stored, without what it was made from. Raises ContractError for a damaged document."""
    again = "zoo score --overwrite makes it again"
    ensemble = build_record(Ensemble, files.read_json(path), path, again, extra_keys=True)
    further = [*ensemble.sources[1:], *([] if ensemble.stopped_at is None else [ensemble.stopped_at])]
    if any(step.gain is None or (step.low is None) != (step.high is None) for step in further):
        raise ContractError(f"{path}: a source that was added has no gain, or half an interval of it", again)
    return ensemble
