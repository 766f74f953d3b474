"""The scores of one source by several metrics; the source is read once for all of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from zoo_cli import console
from zoo_cli.errors import Undefined
from zoo_cli.metrics.collapse import COLLAPSED
from zoo_cli.metrics.labels import Classes
from zoo_cli.pipeline import ensemble_choice, metric_inputs, score_memory
from zoo_cli.pipeline.ensemble_choice import Ensemble
from zoo_cli.pipeline.metric_inputs import MissingInput, SourceOutputs
from zoo_cli.pipeline.metric_specs import MetricSpec, needed_inputs
from zoo_cli.progress import Progress
from zoo_cli.ranking import uncertainty
from zoo_cli.ranking.ensembles import MemberPart
from zoo_cli.ranking.uncertainty import Replicates
from zoo_cli.store import feature_files
from zoo_cli.store.manifest import Images
from zoo_cli.store.score_store import ScoreRow

SMALL = 1024
"""Samples up to which sources are scored side by side, see `parallel.parallel_map`."""


@dataclass(frozen=True)
class Score:
    """The score of one source by one metric, and what the source contributes to an ensemble, if the metric has one.

    `seconds`: how long the scores of the source by all metrics of the command took, None for a stored one.
    """

    row: ScoreRow
    part: MemberPart | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class ScoreResult:
    """Scores, metric by metric, and the ensembles chosen by the metrics that score ensembles too.

    `notes`: on sources, by name, see `source_notes`.
    """

    rows: list[ScoreRow]
    ensembles: list[Ensemble] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)


def is_reported(spec: MetricSpec, rows: Sequence[ScoreRow], strict: bool) -> bool:
    """Whether scores are reported: not if the metric was not requested and no source has what it needs."""
    if not strict and spec.entry.needs and all(row.status == "skipped" for row in rows):
        return False
    for row in rows:
        if row.status == "skipped":
            console.say(f"{row.source} is left out of {spec.method.spec}: {row.reason}")
    return True


def score_progress(metrics: Iterable[MetricSpec], replicates: Replicates, *, intervals: bool) -> Progress:
    """The progress of scores, one metric for each of them. Many samples, with fewer replicates, are announced."""
    parts, permutations = replicates.half_samples.parts, replicates.permutations
    if intervals and permutations and len(permutations[0]) > uncertainty.MANY:
        console.say(
            f"score on {len(permutations[0]):,} samples: intervals from {len(parts)} subsamples, chance from "
            f"{len(permutations)} permutations, fewer than on up to {uncertainty.MANY:,}"
        )
    return Progress("score", _count_evaluations(metrics, replicates, intervals), "evaluations")


def load_reference(path: Path | None, ids: np.ndarray, images: Images | None) -> np.ndarray | None:
    """Features (N, D') of the reference network on these samples; None without a path.

    `images`: of a manifest, with whose labels its own must agree.
    """
    if path is None:
        return None
    return feature_files.load_outputs(
        path, ids=ids, columns=("embedding",), needed={"embedding"}, images=images
    ).embedding


def score_source(
    source: SourceOutputs,
    metrics: Sequence[MetricSpec],
    target: Classes,
    replicates: Replicates,
    seed: int,
    progress: Progress,
    *,
    intervals: bool,
) -> list[Score]:
    """The scores of one source by all metrics, in their order, with one probe per representation.

    `intervals`: with intervals and chance levels, see `uncertainty.estimate_scores`.

    Raises ZooError, before any work, where a metric needs more memory than is free.
    """
    progress.title = f"score {source.name}"
    remaining = _count_evaluations(metrics, replicates, intervals)
    if source.collapsed:
        progress.advance(remaining)
        return [Score(undefine(_row(source, spec, target))) for spec in metrics]

    def advance(count: int) -> None:
        nonlocal remaining
        remaining -= count
        progress.advance(count)

    scores: dict[int, Score] = {}
    for on in dict.fromkeys(spec.on for spec in metrics):
        group = {i: spec for i, spec in enumerate(metrics) if spec.on == on}
        try:
            probe, missing = metric_inputs.load_probe(source, target, on, needed_inputs(group.values()))
        except MissingInput as absent:
            scores |= {i: _skipped(source, spec, target, absent.reason) for i, spec in group.items()}
            continue
        for i, spec in list(group.items()):
            reasons = [missing[need] for need in spec.entry.needs if need in missing]
            if spec.entry.distribution and source.output == "sigmoid":
                reasons.append("its outputs are not a probability distribution (sigmoid)")
            if reasons:
                scores[i] = _skipped(source, group.pop(i), target, reasons[0])
        score_memory.check_memory(source.name, list(group.values()), probe)
        pairs = [(spec.method, spec.entry) for spec in group.values()]
        estimates = uncertainty.estimate_scores(
            pairs, probe, seed=seed, replicates=replicates, advance=advance, intervals=intervals
        )
        for (i, spec), estimate in zip(group.items(), estimates, strict=True):
            row = replace(_row(source, spec, target), dim=probe.matrix.width, classes=len(target.counts))
            if isinstance(estimate, Undefined):
                scores[i] = Score(replace(row, status="undefined", reason=estimate.reason))
                continue
            row = replace(
                row,
                value=estimate.value,
                low=estimate.low,
                high=estimate.high,
                chance=estimate.chance,
                reason=estimate.reason,
                ceiling=estimate.ceiling,
                flags=",".join(estimate.flags) or None,
                draws=None if estimate.draws is None else estimate.draws.tolist(),
                error=estimate.error,
                error_half=estimate.error_half,
                chance_error=estimate.chance_error,
            )
            scores[i] = Score(row, ensemble_choice.member_part(spec, probe, replicates))
    progress.advance(remaining)  # of scores that are skipped or undefined
    return [scores[i] for i in range(len(metrics))]


def _count_evaluations(metrics: Iterable[MetricSpec], replicates: Replicates, intervals: bool) -> int:
    return uncertainty.count_evaluations([spec.entry for spec in metrics], replicates, intervals=intervals)


def undefine(row: ScoreRow) -> ScoreRow:
    """The row of a score of a collapsed source."""
    blank = ScoreRow(row.source, row.metric, row.params, row.representation, row.n, row.dim, row.classes)
    return replace(blank, status="undefined", reason=COLLAPSED, per_class=row.per_class)


def _skipped(source: SourceOutputs, spec: MetricSpec, target: Classes, reason: str) -> Score:
    return Score(replace(_row(source, spec, target), status="skipped", reason=reason))


def _row(source: SourceOutputs, spec: MetricSpec, target: Classes) -> ScoreRow:
    """The row of a score that has no value yet."""
    row = ScoreRow(source.name, spec.method.name, spec.method.spec.partition(":")[2], spec.on, len(target))
    return replace(row, per_class=spec.per_class)
