"""What the scores of a command are made from, and whether they are stored."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from zoo_cli.config import Config, Source
from zoo_cli.metrics.labels import Classes
from zoo_cli.pipeline import leakage, metric_inputs
from zoo_cli.pipeline.metric_specs import MetricSpec, ScoreConfig
from zoo_cli.pipeline.probe_set import probe_rows
from zoo_cli.ranking.uncertainty import SUBSAMPLES
from zoo_cli.store import feature_files, files, parquet_files, provenance
from zoo_cli.store.manifest import Images
from zoo_cli.store.provenance import Inputs
from zoo_cli.store.score_store import SIZE, WITHOUT_INTERVALS, has_intervals
from zoo_cli.store.source_record import load_source_record


def interval_inputs(spec: MetricSpec, intervals: bool) -> Inputs:
    """What tells scores with intervals from those without, and from those of an earlier version, which drew as many
    subsamples for every metric: their replicates do not pair with these."""
    if not intervals:
        return WITHOUT_INTERVALS
    return {"subsamples": spec.entry.subsamples} if spec.entry.subsamples != SUBSAMPLES else {}


@dataclass(frozen=True)
class ScoreTarget:
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
    _with_intervals: dict[Path, bool] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Config, images: Images, options: ScoreConfig, sources: list[Source]) -> Self:
        """The target of scores of these sources, on a probe set of the one size that the metrics name."""
        seed = settings.task.seed if options.seed is None else options.seed
        (size,) = {spec.per_class for spec in options.specs}  # each size of the probe set is a target of its own
        rows = probe_rows(settings, images, size, seed)
        joint = any(spec.entry.joined for spec in options.specs)
        names = [source.name for source in options.sources]
        return cls(
            settings,
            options,
            images,
            sources,
            images.ids[rows],
            Classes.of(images.labels[rows]),
            seed,
            images.fingerprint(rows, "ids", "labels"),
            {source.name: load_source_record(settings, source.name).fingerprint for source in sources},
            leakage.excluded_sources(settings, names) if joint else {},
        )

    def shared_inputs(self, spec: MetricSpec) -> Inputs:
        """What the scores of a metric are made from, besides the source."""
        size = {} if spec.per_class is None else {SIZE: spec.per_class}
        return {"probe": self.probe, "metric": spec.method.spec, "on": spec.on, "seed": self.seed, **size}

    def source_inputs(self, spec: MetricSpec, source: Source) -> Any:
        """What the scores of a metric are made from, of one source."""
        fingerprint = self.fingerprints[source.name]
        further = metric_inputs.input_digests(self.settings, spec.entry.needs, source.name)
        return [fingerprint, further] if further else fingerprint

    def score_inputs(self, spec: MetricSpec, source: Source, existing: Path) -> Inputs:
        """What the score of a source is made from. `existing`: its file, see `reference` and `intervals`."""
        return {**self._own_inputs(spec, source, existing), **self.intervals(spec, existing)}

    def new_inputs(self, spec: MetricSpec, source: Source, existing: Path) -> Inputs:
        """What the score of a source is made from if it is made now, in place of `existing`."""
        return {**self._own_inputs(spec, source, existing), **interval_inputs(spec, self.options.intervals)}

    def _own_inputs(self, spec: MetricSpec, source: Source, existing: Path) -> Inputs:
        own = {"source": self.source_inputs(spec, source)}
        return {**self.shared_inputs(spec), **own, **self.reference(spec, existing)}

    def intervals(self, spec: MetricSpec, existing: Path) -> Inputs:
        """The `interval_inputs` of a score. If no intervals are asked for, existing scores keep theirs."""
        is_kept = not self.options.overwrite and existing.exists() and self._has_intervals(existing)
        return interval_inputs(spec, self.options.intervals or is_kept)

    def lacks_intervals(self, existing: Path) -> bool:
        """Whether existing scores lack the intervals that are asked for: they are made again, as missing ones are."""
        if not self.options.intervals or self.options.overwrite:  # what is overwritten may be damaged
            return False
        return existing.exists() and not self._has_intervals(existing)

    def _has_intervals(self, path: Path) -> bool:
        if path not in self._with_intervals:
            self._with_intervals[path] = has_intervals(parquet_files.read_header(path).get("inputs", {}))
        return self._with_intervals[path]

    def reference(self, spec: MetricSpec, existing: Path) -> Inputs:
        """The digest of the reference; if none is named, of the one that existing scores were made with."""
        if "reference" not in spec.entry.needs:
            return {}
        if self.options.reference is not None:
            return {"reference": feature_files.content_digest(self.options.reference)}
        header = parquet_files.read_header(existing).get("inputs", {}) if existing.exists() else {}
        return {"reference": header.get("reference")}

    def ensemble_inputs(self, spec: MetricSpec) -> Inputs:
        """What an ensemble is made from: all sources."""
        sources = {source.name: self.source_inputs(spec, source) for source in self.sources}
        return {**self.shared_inputs(spec), "sources": sources, "left_out": self.left_out}


@dataclass(frozen=True, eq=False)
class PendingScore:
    """A score to compute: its metric and source, its file, and what it is made from."""

    spec: MetricSpec
    source: Source
    path: Path
    inputs: Inputs


def are_made(target: ScoreTarget, spec: MetricSpec, items: Sequence[PendingScore]) -> bool:
    """Whether all these scores, and the ensemble of their metric, are stored."""
    if spec.entry.joined:
        ensemble = ensemble_path(target.settings, target.options, spec)
        if not ensemble.exists() or files.read_json(ensemble).get("inputs") != target.ensemble_inputs(spec):
            return False
    return all(provenance.is_made_from(item.path, item.inputs) for item in items)


def ensemble_path(settings: Config, options: ScoreConfig, spec: MetricSpec) -> Path:
    """The file of an ensemble, beside the scores of its metric."""
    if options.out is not None:
        return options.out.with_suffix(".json")
    return settings.scores(spec.slug).with_name(f"{spec.slug}.json")
