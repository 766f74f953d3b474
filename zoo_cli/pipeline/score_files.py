"""Scores of stored outputs that are given by path, without a zoo.toml."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from zoo_cli.config import Config
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.metrics.labels import Classes
from zoo_cli.pipeline import ensemble_choice, metric_inputs
from zoo_cli.pipeline.ensemble_choice import Ensemble
from zoo_cli.pipeline.metric_inputs import SourceOutputs
from zoo_cli.pipeline.metric_specs import MetricSpec, ScoreConfig, needed_inputs
from zoo_cli.pipeline.parallel import parallel_map
from zoo_cli.pipeline.probe_set import draw_per_class, say_short_classes
from zoo_cli.pipeline.score_target import interval_inputs
from zoo_cli.pipeline.scoring import (
    SMALL,
    Score,
    ScoreResult,
    is_reported,
    load_reference,
    score_progress,
    score_source,
)
from zoo_cli.ranking import uncertainty
from zoo_cli.ranking.uncertainty import Replicates
from zoo_cli.store import feature_files
from zoo_cli.store.feature_files import StoredOutputs
from zoo_cli.store.manifest import Images, load_manifest
from zoo_cli.store.output_columns import compare_labels
from zoo_cli.store.output_summary import summarise_path
from zoo_cli.store.score_store import SIZE, ScoreRow, write_scores


@dataclass(frozen=True, eq=False)
class _Samples:
    """The samples on which all sources are scored: `ids` (N,), `labels` (N,); `paths`: the outputs of each source.

    `images`: of the manifest, if one is named.
    """

    paths: dict[str, Path]
    ids: np.ndarray
    labels: np.ndarray
    images: Images | None


def score_files(settings: Config, options: ScoreConfig) -> ScoreResult:
    """The scores of stored outputs, with their own labels or those of a manifest's probe set.

    Raises ContractError if the files are not of the same samples and labels, UsageError for two of one name.
    """
    samples = _load_samples(options)
    results = [_score_size(settings, part, samples) for part in options.by_size()]
    rows = [row for result in results for row in result.rows]
    return ScoreResult(rows, [ensemble for result in results for ensemble in result.ensembles])


def _score_size(settings: Config, options: ScoreConfig, whole: _Samples) -> ScoreResult:
    """The scores on one size of the probe set, of which `whole` is all."""
    seed, size = settings.task.seed if options.seed is None else options.seed, options.specs[0].per_class
    say_short_classes(whole.labels, size)
    drawn = draw_per_class(whole.ids, whole.labels, size, seed)
    samples = replace(whole, ids=whole.ids[drawn], labels=whole.labels[drawn])
    target = Classes.of(samples.labels)
    replicates = uncertainty.draw_replicates(target, seed=seed)
    reference = load_reference(options.reference, samples.ids, samples.images)
    columns = metric_inputs.stored_columns({spec.on for spec in options.specs}, needed_inputs(options.specs))
    progress = score_progress(
        [spec for spec in options.specs for _ in samples.paths], replicates, intervals=options.intervals
    )

    def score_one(item: tuple[str, Path]) -> list[Score]:
        # Each source is in memory while it is scored, its rows in the order of the samples.
        name, path = item
        outputs = feature_files.load_outputs(path, ids=samples.ids, columns=columns, images=samples.images)
        folder = path if path.is_dir() else None
        collapsed = summarise_path(path, "softmax").collapsed
        source = SourceOutputs(None, name, samples.ids, outputs, "softmax", folder, reference, collapsed)
        return score_source(source, options.specs, target, replicates, seed, progress, intervals=options.intervals)

    with progress:
        scores = parallel_map(score_one, list(samples.paths.items()), small=len(target) <= SMALL)
    digests = {name: feature_files.content_digest(path) for name, path in samples.paths.items()}
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
            made_from: dict[str, Any] = {
                "metric": spec.method.spec,
                "on": spec.on,
                "seed": seed,
                "sources": digests,
                **({} if size is None else {SIZE: size}),
                **interval_inputs(spec, options.intervals),
            }
            if "reference" in spec.entry.needs and options.reference is not None:
                made_from["reference"] = feature_files.content_digest(options.reference)
            if ensemble is not None:
                ensemble_choice.write_ensemble(options.out.with_suffix(".json"), ensemble, made_from)
            write_scores(options.out, [score.row for score in metric_scores], made_from)
    return ScoreResult(rows, ensembles)


def _load_samples(options: ScoreConfig) -> _Samples:
    """The probe set of the manifest, or the labelled samples of the files, sorted by id.

    Raises UsageError for two files of one name, ContractError where files are of other samples or labels.
    """
    paths: dict[str, Path] = {}
    for path in options.features:
        name = feature_files.display_name(path)
        if name in paths:
            raise UsageError(f'two --features are named "{name}"', "rename a file: its stem is the source's name")
        paths[name] = path
    if options.manifest is not None:
        images = load_manifest(options.manifest, options.manifest.parent)
        probe = images.where(probe=True)
        return _Samples(paths, images.ids[probe], images.labels[probe], images)
    first: StoredOutputs | None = None
    for path in options.features:
        outputs = feature_files.load_outputs(path, columns=())
        if outputs.labels is None:
            raise ContractError(f"{path} has no column label", "add one, or name the task's manifest with --manifest")
        order = np.argsort(outputs.ids.astype(str), kind="stable")
        outputs = outputs.take(order[outputs.labels[order] >= 0])
        first = outputs if first is None else first
        _check_same_samples(path, outputs, options.features[0], first)
    assert first is not None
    assert first.labels is not None
    return _Samples(paths, first.ids, first.labels, None)


def _check_same_samples(path: Path, outputs: StoredOutputs, first_path: Path, first: StoredOutputs) -> None:
    """Raise ContractError unless both are of the same samples: scores and their replicates are paired by sample."""
    unpaired = sorted(set(outputs.ids) ^ set(first.ids))
    if unpaired:
        raise ContractError(
            f"{path} and {first_path} are stored on different samples: {len(unpaired):,} ids are in only one "
            f"of them, e.g. {unpaired[0]}",
            "score them on the same ids",
        )
    assert outputs.labels is not None
    assert first.labels is not None
    compare_labels(path, outputs.ids, outputs.labels, first_path, first.ids, first.labels)


def _choose_ensemble(spec: MetricSpec, scores: Sequence[Score], replicates: Replicates, seed: int) -> Ensemble | None:
    if not spec.entry.joined:
        return None
    parts = {score.row.source: score.part for score in scores if score.part is not None}
    return ensemble_choice.choose_ensemble(spec, parts, replicates, seed=seed, left_out={})
