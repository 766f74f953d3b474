"""Scores of stored outputs that are given by path, without a zoo.toml."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo_cli.config import Config
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.metrics.labels import Classes
from zoo_cli.pipeline import ensemble_choice, metric_inputs
from zoo_cli.pipeline.ensemble_choice import Ensemble
from zoo_cli.pipeline.metric_inputs import SourceOutputs
from zoo_cli.pipeline.metric_specs import MetricSpec, ScoreConfig, needed_inputs
from zoo_cli.pipeline.scoring import (
    Score,
    ScoreResult,
    is_reported,
    load_reference,
    score_source,
)
from zoo_cli.ranking import uncertainty
from zoo_cli.ranking.uncertainty import Replicates
from zoo_cli.store import feature_files
from zoo_cli.store.feature_files import StoredOutputs
from zoo_cli.store.manifest import load_manifest
from zoo_cli.store.output_summary import summarise_path
from zoo_cli.store.score_store import ScoreRow, write_scores


def score_files(settings: Config, options: ScoreConfig) -> ScoreResult:
    """The scores of stored outputs, with their own labels or those of a manifest's probe set.

    Raises ContractError if the files are not of the same samples and labels, UsageError for two of one name.
    """
    seed = settings.task.seed if options.seed is None else options.seed
    inputs = _load(options.features, options.specs, options.manifest)
    target = Classes.of(inputs[0].labels)
    replicates = uncertainty.draw_replicates(target, seed=seed)
    reference = load_reference(options.reference, inputs[0].outputs.ids)
    scores = []
    for labelled in inputs:
        outputs, folder = labelled.outputs, labelled.path if labelled.path.is_dir() else None
        collapsed = summarise_path(labelled.path, "softmax").collapsed
        source = SourceOutputs(None, outputs.name, outputs.ids, outputs, "softmax", folder, reference, collapsed)
        scores.append(score_source(source, options.specs, target, replicates, seed))
    digests = {labelled.outputs.name: feature_files.content_digest(labelled.path) for labelled in inputs}
    rows: list[ScoreRow] = []
    ensembles: list[Ensemble] = []
    for number, spec in enumerate(options.specs):
        metric_scores = [source_scores[number] for source_scores in scores]
        if not is_reported(spec, [score.row for score in metric_scores], options.strict):
            continue
        rows += [score.row for score in metric_scores]
        ensemble = _choose_ensemble(spec, metric_scores, replicates, seed)
        ensembles += [] if ensemble is None else [ensemble]
        if options.out is not None:
            made_from = {"metric": spec.method.spec, "on": spec.on, "seed": seed, "sources": digests}
            if "reference" in spec.entry.needs and options.reference is not None:
                made_from["reference"] = feature_files.content_digest(options.reference)
            if ensemble is not None:
                ensemble_choice.write_ensemble(options.out.with_suffix(".json"), ensemble, made_from)
            write_scores(options.out, [score.row for score in metric_scores], made_from)
    return ScoreResult(rows, ensembles)


@dataclass(frozen=True)
class _Labelled:
    """Stored outputs with the label (N,) of every sample."""

    path: Path
    outputs: StoredOutputs
    labels: np.ndarray


def _load(paths: Sequence[Path], metrics: Sequence[MetricSpec], manifest: Path | None) -> list[_Labelled]:
    """The stored outputs, all of the same samples in one order, whatever the order of the files."""
    ids = labels = None
    if manifest is not None:
        images = load_manifest(manifest, manifest.parent)
        probe = images.where(probe=True)
        ids, labels = images.ids[probe], images.labels[probe]
    columns = metric_inputs.stored_columns({spec.on for spec in metrics}, needed_inputs(metrics))
    inputs: list[_Labelled] = []
    for path in paths:
        outputs = feature_files.load_outputs(path, ids=ids, columns=columns)
        if any(outputs.name == labelled.outputs.name for labelled in inputs):
            raise UsageError(
                f'two --features are named "{outputs.name}"', "rename a file: its stem is the source's name"
            )
        y = outputs.labels if labels is None else labels
        if y is None:
            raise ContractError(f"{path} has no column label", "add one, or name the task's manifest with --manifest")
        order = np.argsort(outputs.ids.astype(str), kind="stable") if ids is None else np.arange(len(y))
        order = order[y[order] >= 0]
        inputs.append(_Labelled(path, outputs.take(order), y[order]))
        _check_same_samples(inputs[-1], inputs[0])
    return inputs


def _check_same_samples(current: _Labelled, first: _Labelled) -> None:
    """Raise ContractError unless both are of the same samples: scores and their replicates are paired by sample."""
    labels, first_labels = (
        dict(zip(labelled.outputs.ids.tolist(), labelled.labels.tolist(), strict=True)) for labelled in (current, first)
    )
    unpaired = sorted(labels.keys() ^ first_labels.keys())
    if unpaired:
        raise ContractError(
            f"{current.path} and {first.path} are stored on different samples: {len(unpaired):,} ids are in only one "
            f"of them, e.g. {unpaired[0]}",
            "score them on the same ids",
        )
    wrong = [name for name, label in labels.items() if label != first_labels[name]]
    if wrong:
        raise ContractError(
            f"{current.path} and {first.path} disagree on the label of {len(wrong):,} samples, e.g. {wrong[0]}",
            "they were made for different tasks",
        )


def _choose_ensemble(spec: MetricSpec, scores: Sequence[Score], replicates: Replicates, seed: int) -> Ensemble | None:
    if not spec.entry.joined:
        return None
    parts = {score.row.source: score.part for score in scores if score.part is not None}
    return ensemble_choice.choose_ensemble(spec, parts, replicates, seed=seed, left_out={})
