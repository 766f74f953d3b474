"""`zoo score`: how similar each source is to the task, by every requested metric, with its uncertainty."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from zoo_cli import config
from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.errors import UsageError
from zoo_cli.metrics.labels import Classes
from zoo_cli.pipeline import ensemble_choice, leakage, metric_inputs, prepare
from zoo_cli.pipeline.metric_inputs import SourceOutputs
from zoo_cli.pipeline.metric_specs import MetricSpec, ScoreConfig, needed_inputs, parse_metric
from zoo_cli.pipeline.parallel import parallel_map
from zoo_cli.pipeline.prepare import Needs
from zoo_cli.pipeline.probe_set import probe_rows
from zoo_cli.pipeline.score_files import score_files
from zoo_cli.pipeline.scoring import (
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
from zoo_cli.store import feature_files, files, output_summary, provenance
from zoo_cli.store.manifest import Images
from zoo_cli.store.provenance import Inputs, Stale
from zoo_cli.store.score_store import load_scores, write_scores
from zoo_cli.store.source_record import load_source_record

SMALL = 1024  # samples


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
        rows = [row for path in paths if path.exists() for row in load_scores(path)]
    # An earlier version gave collapsed sources scores too.
    collapsed = output_summary.find_collapsed(settings, [source.name for source in sources])
    rows = [undefine(row) if row.source in collapsed and row.status == "ok" else row for row in rows]
    ensembles = [
        ensemble_choice.load_ensemble(path)
        for spec in options.specs
        if spec.entry.joined and (path := _ensemble_path(settings, options, spec)).exists()
    ]
    return ScoreResult(rows, ensembles, note_sources(settings, [source.name for source in sources]))


def score_sources(settings: Config, images: Images, options: ScoreConfig) -> None:
    """Compute the missing scores, one file per metric and source: no score depends on the other sources.

    Each source is read once, for all metrics whose scores are missing. Without `reference`, scores that were made with
    one stay current. Raises Stale, naming what differs.
    """
    target = _Target.of(settings, images, options)
    if options.out is not None:
        _score_to_file(target, options.out)
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
        for item in items:
            write_scores(item.path, [scores[item].row], item.inputs)
        if spec.entry.joined:
            parts = {item.source.name: part for item in items if (part := scores[item].part) is not None}
            _write_ensemble(target, spec, parts)


def check_stored(settings: Config, images: Images, path: Path, sources: Sequence[Source]) -> None:
    """Raise Stale, naming what differs, for a stored score of a source, or an ensemble, made from other inputs.

    `sources`: of which it is. The seed is that of the file: a flag may have set it.
    """
    is_ensemble = path.suffix == ".json"
    made_from = (files.read_json(path) if is_ensemble else files.read_header(path)).get("inputs", {})
    on = made_from.get("on")
    spec = parse_metric(str(made_from.get("metric")), on if on in ("features", "probs") else None)
    target = _Target.of(settings, images, ScoreConfig((spec,), seed=made_from.get("seed")), sources)
    if is_ensemble:
        inputs: Inputs = {**target.ensemble_inputs(spec), "left_out": made_from.get("left_out")}
    else:
        own = {"source": target.source_inputs(spec, sources[0])}
        inputs = {**target.shared_inputs(spec), **own, **target.reference(spec, path)}
    changed = provenance.differences(made_from, inputs)
    if changed:
        raise provenance.stale_error(str(path), changed, f"score --metric {spec.method.spec}")


@dataclass(frozen=True)
class _Target:
    """What all scores of a command share: the probe set, the sources and what each is made from."""

    settings: Config
    options: ScoreConfig
    images: Images
    sources: list[Source]
    ids: np.ndarray
    classes: Classes
    seed: int
    probe: str
    fingerprints: dict[str, str]
    left_out: dict[str, str]

    @classmethod
    def of(
        cls, settings: Config, images: Images, options: ScoreConfig, sources: Sequence[Source] | None = None
    ) -> Self:
        sources = with_student(settings, options.sources) if sources is None else list(sources)
        rows = probe_rows(settings, images)
        joint = any(spec.entry.joined for spec in options.specs)
        names = [source.name for source in options.sources]
        return cls(
            settings,
            options,
            images,
            sources,
            images.ids[rows],
            Classes.of(images.labels[rows]),
            settings.task.seed if options.seed is None else options.seed,
            images.fingerprint(rows, "ids", "labels"),
            {source.name: load_source_record(settings, source.name).fingerprint for source in sources},
            leakage.excluded_sources(settings, names) if joint else {},
        )

    def shared_inputs(self, spec: MetricSpec) -> Inputs:
        """What the scores of a metric are made from, besides the source."""
        return {"probe": self.probe, "metric": spec.method.spec, "on": spec.on, "seed": self.seed}

    def source_inputs(self, spec: MetricSpec, source: Source) -> Any:
        """What the scores of a metric are made from, of one source."""
        fingerprint = self.fingerprints[source.name]
        further = metric_inputs.input_digests(self.settings, spec.entry.needs, source.name)
        return [fingerprint, further] if further else fingerprint

    def reference(self, spec: MetricSpec, existing: Path) -> Inputs:
        """The digest of the reference; if none is named, of the one that existing scores were made with."""
        if "reference" not in spec.entry.needs:
            return {}
        if self.options.reference is not None:
            return {"reference": feature_files.content_digest(self.options.reference)}
        header = files.read_header(existing).get("inputs", {}) if existing.exists() else {}
        return {"reference": header.get("reference")}

    def ensemble_inputs(self, spec: MetricSpec) -> Inputs:
        """What an ensemble is made from: all sources."""
        sources = {source.name: self.source_inputs(spec, source) for source in self.sources}
        return {**self.shared_inputs(spec), "sources": sources, "left_out": self.left_out}


@dataclass(frozen=True, eq=False)
class _Pending:
    """A score to compute: its metric and source, its file, and what it is made from."""

    spec: MetricSpec
    source: Source
    path: Path
    inputs: Inputs


def _pending(target: _Target, spec: MetricSpec) -> list[_Pending]:
    """The missing scores of a metric; those of all sources if its ensemble is missing."""
    settings, options = target.settings, target.options
    maker = f"score --metric {spec.method.spec}"
    items = []
    for source in target.sources:
        path = settings.scores(spec.slug) / f"{source.name}.parquet"
        own = {"source": target.source_inputs(spec, source)}
        inputs = {**target.shared_inputs(spec), **own, **target.reference(spec, path)}
        items.append(_Pending(spec, source, path, inputs))
    missing = [item for item in items if not _is_current(item.path, item.inputs, options, maker)]
    if spec.entry.joined:
        ensemble = _ensemble_path(settings, options, spec)
        if missing or not _is_current(ensemble, target.ensemble_inputs(spec), options, maker):
            return items
    if missing and "reference" in spec.entry.needs and options.reference is None:
        if options.strict:
            raise _no_reference(spec)
        return []
    return missing


def _is_current(path: Path, inputs: Inputs, options: ScoreConfig, maker: str) -> bool:
    try:
        return provenance.is_current(path, inputs, overwrite=options.overwrite, maker=maker)
    except Stale:
        if options.refresh:
            return False
        raise


def _run(target: _Target, pending: Sequence[_Pending]) -> dict[_Pending, Score]:
    """Compute the pending scores, each source read once."""
    sources = [source for source in target.sources if any(item.source is source for item in pending)]
    if not sources:
        return {}
    replicates = uncertainty.draw_replicates(target.classes, seed=target.seed)
    reference = load_reference(target.options.reference, target.ids, target.images)

    def run(source: Source) -> list[tuple[_Pending, Score]]:
        items = [item for item in pending if item.source is source]
        metrics = [item.spec for item in items]
        outputs = _load_source(target, source, metrics, reference)
        scores = score_source(outputs, metrics, target.classes, replicates, target.seed, progress)
        return list(zip(items, scores, strict=True))

    progress = score_progress([item.spec for item in pending], replicates)
    with progress:
        results = parallel_map(run, sources, small=len(target.ids) <= SMALL)
    return {item: score for result in results for item, score in result}


def _load_source(
    target: _Target, source: Source, metrics: Sequence[MetricSpec], reference: np.ndarray | None
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


def _score_to_file(target: _Target, out: Path) -> None:
    """The scores of one metric in one file, all sources together."""
    (spec,) = target.options.specs
    maker = f"score --metric {spec.method.spec}"
    sources = {source.name: target.source_inputs(spec, source) for source in target.sources}
    inputs = {**target.shared_inputs(spec), "sources": sources, **target.reference(spec, out)}
    # A file that holds further sources serves these too; an ensemble depends on all of them.
    stored = {} if spec.entry.joined or not out.exists() else files.read_header(out).get("inputs", {})
    requested = {**inputs, "sources": {**stored.get("sources", {}), **sources}}
    if _is_current(out, requested, target.options, maker):
        return
    if "reference" in spec.entry.needs and target.options.reference is None:
        raise _no_reference(spec)
    items = [_Pending(spec, source, out, inputs) for source in target.sources]
    scores = _run(target, items)
    rows = [scores[item].row for item in items]
    is_reported(spec, rows, target.options.strict)
    if spec.entry.joined:
        _write_ensemble(target, spec, {i.source.name: part for i in items if (part := scores[i].part) is not None})
    write_scores(out, rows, inputs)


def _write_ensemble(target: _Target, spec: MetricSpec, parts: Mapping[str, MemberPart]) -> None:
    replicates: Replicates = uncertainty.draw_replicates(target.classes, seed=target.seed)
    ensemble = ensemble_choice.choose_ensemble(spec, parts, replicates, seed=target.seed, left_out=target.left_out)
    path = _ensemble_path(target.settings, target.options, spec)
    ensemble_choice.write_ensemble(path, ensemble, target.ensemble_inputs(spec))


def _ensemble_path(settings: Config, options: ScoreConfig, spec: MetricSpec) -> Path:
    """The file of an ensemble, beside the scores of its metric."""
    if options.out is not None:
        return options.out.with_suffix(".json")
    return settings.root / "scores" / f"{spec.slug}.json"


def _without_reference_metrics(options: ScoreConfig) -> ScoreConfig:
    """Without the metrics that cannot be made again, unless they are asked for: they need a reference."""
    if options.strict or options.reference is not None:
        return options
    return replace(options, specs=tuple(spec for spec in options.specs if "reference" not in spec.entry.needs))


def _no_reference(spec: MetricSpec) -> UsageError:
    return UsageError(
        f"{spec.method.spec} compares with a small network trained on the task",
        f"zoo score --metric {spec.method.spec} --reference PATH with its stored features",
    )
