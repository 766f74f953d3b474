"""`zoo score`: how similar each source is to the task, by every requested metric, with its uncertainty."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from zoo_cli import config
from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.errors import UsageError, ZooError
from zoo_cli.label_sets import labels_flag
from zoo_cli.pipeline import ensemble_choice, metric_inputs, prepare
from zoo_cli.pipeline.metric_inputs import SourceOutputs
from zoo_cli.pipeline.metric_specs import MetricSpec, ScoreConfig, needed_inputs, parse_metric
from zoo_cli.pipeline.parallel import parallel_map
from zoo_cli.pipeline.prepare import Needs
from zoo_cli.pipeline.probe_set import probe_rows, say_short_classes
from zoo_cli.pipeline.score_files import score_files
from zoo_cli.pipeline.score_logs import seconds_logs
from zoo_cli.pipeline.score_target import PendingScore, ScoreTarget, are_made, ensemble_path, interval_inputs
from zoo_cli.pipeline.scoring import (
    SMALL,
    Score,
    ScoreResult,
    is_reported,
    load_reference,
    score_progress,
    score_source,
    undefine,
)
from zoo_cli.pipeline.source_notes import note_sources
from zoo_cli.ranking import uncertainty
from zoo_cli.ranking.ensembles import MemberPart
from zoo_cli.ranking.uncertainty import Replicates
from zoo_cli.store import feature_files, files, output_summary, parquet_files, provenance, replacement, stage_log
from zoo_cli.store.class_names import load_class_names
from zoo_cli.store.manifest import Images
from zoo_cli.store.provenance import Inputs, Stale, fingerprint
from zoo_cli.store.replacement import Replacement
from zoo_cli.store.score_store import SIZE, has_intervals, load_scores, write_scores, write_together
from zoo_cli.store.source_record import load_source_record


def score(settings: Config, options: ScoreConfig) -> ScoreResult:
    """The scores of sources and of the student's starting features, computed unless the stored ones are current.

    Raises UsageError if there is no source or an input is stale.
    """
    if options.features:
        return score_files(settings, options)
    if options.overwrite or options.refresh:
        options = _without_reference_metrics(options)
    prepare.prepare(settings, score_needs(settings, options), refresh=options.refresh)
    return load_result(settings, options)


def score_needs(settings: Config, options: ScoreConfig) -> Needs:
    """What is needed to score these sources, and the scores themselves."""
    if not options.sources:
        raise UsageError(
            f"no source in {settings.root / config.FILE}",
            "add a [[source]] table; without one, zoo rank --features FILE",
        )
    sources = with_student(settings, options.sources)
    gradients = metric_inputs.needs_gradients(needed_inputs(options.specs))
    return Needs(features=sources, gradients=sources if gradients else (), scores=options)


def with_student(settings: Config, sources: Sequence[Source]) -> list[Source]:
    """The sources and, last, the student, whose starting features are scored beside them."""
    return [*sources, *(source for source in settings.models if source.name == STUDENT)]


def load_result(settings: Config, options: ScoreConfig) -> ScoreResult:
    """The stored scores of these sources and the student. Metrics without stored scores are left out."""
    sources = with_student(settings, options.sources)
    if options.out is not None:
        names = {source.name for source in sources}
        rows = [row for row in load_scores(options.out) if row.source in names] if options.out.exists() else []
    else:
        paths = [settings.scores(spec.slug) / f"{source.name}.parquet" for spec in options.specs for source in sources]
        for spec in options.specs:
            replacement.settle(settings.scores(spec.slug))
        rows = [row for path in paths if path.exists() for row in load_scores(path)]
    # An earlier version gave collapsed sources scores too.
    collapsed = output_summary.find_collapsed(settings, [source.name for source in sources])
    rows = [undefine(row) if row.source in collapsed and row.status == "ok" else row for row in rows]
    ensembles = [
        ensemble_choice.load_ensemble(path)
        for spec in options.specs
        if spec.entry.joined and (path := ensemble_path(settings, options, spec)).exists()
    ]
    return ScoreResult(rows, ensembles, note_sources(settings, [source.name for source in sources]))


def score_sources(settings: Config, images: Images, options: ScoreConfig) -> None:
    """Compute the missing scores, one file per metric and source: no score depends on the other sources.

    Each source is read once, for all metrics whose scores are missing. Without `reference`, scores that were made with
    one stay current. Raises Stale, naming what differs.
    """
    for part in options.by_size():
        _score_size(settings, images, part)


def _score_size(settings: Config, images: Images, options: ScoreConfig) -> None:
    """The scores on one size of the probe set."""
    target = ScoreTarget.of(settings, images, options, with_student(settings, options.sources))
    _say_short_classes(target)
    if options.out is not None:
        _score_to_file(target, options.out)
        return
    if options.overwrite:
        _overwrite_scores(target)
        return
    pending = [item for spec in options.specs for item in _pending(target, spec)]
    scores = _run(target, pending)
    for spec in options.specs:
        items = [item for item in pending if item.spec == spec]
        rows = [scores[item].row for item in items]
        # Where other sources have a score of the metric, the rows of these stay too, whatever they lack.
        kept = options.strict or len(items) < len(target.sources)
        if not items or not is_reported(spec, rows, kept):
            continue
        write_together([(item.path, scores[item].row, item.inputs) for item in items], seconds_logs(items, scores))
        if spec.entry.joined:
            parts = {item.source.name: part for item in items if (part := scores[item].part) is not None}
            _write_ensemble(ensemble_path(target.settings, options, spec), target, spec, parts)


def are_stored(settings: Config, images: Images, options: ScoreConfig) -> bool:
    """Whether the scores of these sources and the student are stored, and the ensembles of their metrics.

    Raises Stale, naming what differs; UsageError where a source has no stored outputs.
    """
    target = ScoreTarget.of(settings, images, options, with_student(settings, options.sources))
    for spec in options.specs:
        for source in target.sources:
            path = settings.scores(spec.slug) / f"{source.name}.parquet"
            if target.lacks_intervals(path):
                return False
            if not provenance.is_current(path, target.score_inputs(spec, source, path), overwrite=False):
                return False
        if spec.entry.joined:
            path = ensemble_path(settings, options, spec)
            if not provenance.is_current(path, target.ensemble_inputs(spec), overwrite=False):
                return False
    return True


def check_stored(settings: Config, images: Images, path: Path, sources: Sequence[Source]) -> None:
    """Raise Stale, naming what differs, for a stored score of a source, or an ensemble, made from other inputs.

    `sources`: of which it is. The seed is that of the file: a flag may have set it.
    """
    is_ensemble = path.suffix == ".json"
    made_from = (files.read_json(path) if is_ensemble else parquet_files.read_header(path)).get("inputs", {})
    on = made_from.get("on")
    spec = parse_metric(str(made_from.get("metric")), on if on in ("features", "probs") else None)
    spec = replace(spec, per_class=made_from.get(SIZE))
    options = ScoreConfig((spec,), seed=made_from.get("seed"), intervals=has_intervals(made_from))
    target = ScoreTarget.of(settings, images, options, list(sources))
    if is_ensemble:
        inputs: Inputs = {**target.ensemble_inputs(spec), "left_out": made_from.get("left_out")}
    else:
        inputs = target.score_inputs(spec, sources[0], path)
    changed = provenance.differences(made_from, inputs)
    if changed:
        raise provenance.stale_error(str(path), changed, spec.command)


def _overwrite_scores(target: ScoreTarget) -> None:
    """Compute scores beside those that are stored, each written at once, and bring those of a metric into their place.

    The same command, interrupted, goes on with the scores that are left.
    """
    begun: list[tuple[MetricSpec, Replacement, list[PendingScore]]] = []
    scores: dict[PendingScore, Score] = {}
    for spec in target.options.specs:
        items = _pending(target, spec)
        place, identity = target.settings.scores(spec.slug), fingerprint([item.inputs for item in items])
        if not items or (replacement.is_done(place, identity) and are_made(target, spec, items)):
            continue
        new = Replacement.begin(place, identity)
        begun.append((spec, new, items))
        for item in items:
            # The score of a joint metric does not tell what its source contributes to an ensemble.
            if not spec.entry.joined and provenance.is_made_from(path := new.path(item.path), item.inputs):
                scores[item] = Score(load_scores(path)[0])

    new_of = {item: new for _, new, items in begun for item in items}

    def keep(item: PendingScore, score: Score) -> None:
        replacement.commit(new_of[item], item.path, write_scores, [score.row], item.inputs)

    pending = [item for item in new_of if item not in scores]
    scores |= _run(target, pending, keep)
    for spec, new, items in begun:
        if not is_reported(spec, [scores[item].row for item in items], target.options.strict):
            new.discard()
            continue
        targets = {}
        if spec.entry.joined:
            parts = {item.source.name: part for item in items if (part := scores[item].part) is not None}
            ensemble = ensemble_path(target.settings, target.options, spec)
            replacement.commit(new, new.place / ensemble.name, _write_ensemble, target, spec, parts)
            targets[ensemble.name] = f"../{ensemble.name}"
        new.swap(targets=targets, remember=True)
        stage_log.write_texts(seconds_logs(items, scores))
        if not are_made(target, spec, items):
            raise ZooError(f"{new.place}: another process has stored other scores", "run the same command again")
    replacement.forget(target.settings.scores(spec.slug) for spec in target.options.specs)


def _pending(target: ScoreTarget, spec: MetricSpec) -> list[PendingScore]:
    """The missing scores of a metric; those of all sources if its ensemble is missing."""
    settings, options = target.settings, target.options
    maker = f"{spec.command}{labels_flag(settings)}"
    items = []
    replacement.settle(settings.scores(spec.slug))
    for source in target.sources:
        path = settings.scores(spec.slug) / f"{source.name}.parquet"
        items.append(PendingScore(spec, source, path, target.score_inputs(spec, source, path)))
    missing = [
        _made_anew(target, item)
        for item in items
        if target.lacks_intervals(item.path) or not _is_current(item.path, item.inputs, options, maker)
    ]
    if spec.entry.joined:
        ensemble = ensemble_path(settings, options, spec)
        if missing or not _is_current(ensemble, target.ensemble_inputs(spec), options, maker):
            return [_made_anew(target, item) for item in items]
    if missing and "reference" in spec.entry.needs and options.reference is None:
        if options.strict:
            raise _no_reference(spec)
        return []
    return missing


def _made_anew(target: ScoreTarget, item: PendingScore) -> PendingScore:
    return replace(item, inputs=target.new_inputs(item.spec, item.source, item.path))


def _is_current(path: Path, inputs: Inputs, options: ScoreConfig, maker: str) -> bool:
    try:
        return provenance.is_current(path, inputs, overwrite=options.overwrite, maker=maker)
    except Stale:
        if options.refresh:
            return False
        raise


def _run(
    target: ScoreTarget, pending: Sequence[PendingScore], keep: Callable[[PendingScore, Score], None] | None = None
) -> dict[PendingScore, Score]:
    """Compute the pending scores, each source read once. `keep`: called with each as soon as it is known."""
    by_source: dict[str, list[PendingScore]] = {}
    for item in pending:
        by_source.setdefault(item.source.name, []).append(item)
    sources = [source for source in target.sources if source.name in by_source]
    if not sources:
        return {}
    replicates = uncertainty.draw_replicates(target.classes, seed=target.seed)
    reference = load_reference(target.options.reference, target.ids, target.images)

    def run(source: Source) -> list[tuple[PendingScore, Score]]:
        items = by_source[source.name]
        metrics = [item.spec for item in items]
        started = time.monotonic()
        outputs = _load_source(target, source, metrics, reference)
        scores = score_source(
            outputs, metrics, target.classes, replicates, target.seed, progress, intervals=target.options.intervals
        )
        seconds = time.monotonic() - started
        results = [(item, replace(score, seconds=seconds)) for item, score in zip(items, scores, strict=True)]
        if keep is not None:
            for item, score in results:
                keep(item, score)
        return results

    progress = score_progress([item.spec for item in pending], replicates, intervals=target.options.intervals)
    with progress:
        # The seconds of a source are those of all its metrics: they share its products.
        results = parallel_map(run, sources, small=len(target.ids) <= SMALL)
    return {item: score for result in results for item, score in result}


def _load_source(
    target: ScoreTarget, source: Source, metrics: Sequence[MetricSpec], reference: np.ndarray | None
) -> SourceOutputs:
    record = load_source_record(target.settings, source.name)
    if output_summary.find_collapsed(target.settings, [source.name]):
        return SourceOutputs(target.settings, source.name, target.ids, None, record.output, collapsed=True)
    columns = [
        column
        for column in metric_inputs.stored_columns({spec.on for spec in metrics}, needed_inputs(metrics))
        if (record.features if column == "embedding" else record.classes)
    ]
    folder = target.settings.features(source.name)
    # Probabilities are stored as logits in a workspace.
    needed = {"embedding", "logits"}.intersection(columns)
    outputs = feature_files.load_outputs(folder, ids=target.ids, columns=columns, needed=needed) if columns else None
    return SourceOutputs(target.settings, source.name, target.ids, outputs, record.output, folder, reference)


def _score_to_file(target: ScoreTarget, out: Path) -> None:
    """The scores of one metric in one file, all sources together."""
    (spec,) = target.options.specs
    maker = f"{spec.command}{labels_flag(target.settings)}"
    sources = {source.name: target.source_inputs(spec, source) for source in target.sources}
    inputs = {**target.shared_inputs(spec), "sources": sources, **target.reference(spec, out)}
    # A file that holds further sources serves these too; an ensemble depends on all of them.
    stored = {} if spec.entry.joined or not out.exists() else parquet_files.read_header(out).get("inputs", {})
    requested = {**inputs, **target.intervals(spec, out), "sources": {**stored.get("sources", {}), **sources}}
    if not target.lacks_intervals(out) and _is_current(out, requested, target.options, maker):
        return
    if "reference" in spec.entry.needs and target.options.reference is None:
        raise _no_reference(spec)
    inputs = {**inputs, **interval_inputs(spec, target.options.intervals)}
    items = [PendingScore(spec, source, out, inputs) for source in target.sources]
    scores = _run(target, items)
    rows = [scores[item].row for item in items]
    is_reported(spec, rows, target.options.strict)
    if spec.entry.joined:
        parts = {item.source.name: part for item in items if (part := scores[item].part) is not None}
        _write_ensemble(ensemble_path(target.settings, target.options, spec), target, spec, parts)
    write_scores(out, rows, inputs)


def _write_ensemble(path: Path, target: ScoreTarget, spec: MetricSpec, parts: Mapping[str, MemberPart]) -> None:
    replicates: Replicates = uncertainty.draw_replicates(target.classes, seed=target.seed)
    ensemble = ensemble_choice.choose_ensemble(spec, parts, replicates, seed=target.seed, left_out=target.left_out)
    ensemble_choice.write_ensemble(path, ensemble, target.ensemble_inputs(spec))


def _without_reference_metrics(options: ScoreConfig) -> ScoreConfig:
    """Without the metrics that cannot be made again, unless they are asked for: they need a reference."""
    if options.strict or options.reference is not None:
        return options
    return replace(options, specs=tuple(spec for spec in options.specs if "reference" not in spec.entry.needs))


def _say_short_classes(target: ScoreTarget) -> None:
    size = target.options.specs[0].per_class if target.options.specs else None
    if size is not None:
        rows = probe_rows(target.settings, target.images)
        say_short_classes(target.images.labels[rows], size, load_class_names(target.settings.classes))


def _no_reference(spec: MetricSpec) -> UsageError:
    return UsageError(
        f"{spec.method.spec} compares with a small network trained on the task",
        f"zoo score --metric {spec.method.spec} --reference PATH with its stored features",
    )
