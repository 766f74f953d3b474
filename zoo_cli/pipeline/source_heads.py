"""The ridge head of each source, judged by leave-one-out, and the pool of heads that is stored already."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo_cli import specs
from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.evaluation.accuracy_intervals import accuracy_interval
from zoo_cli.heads.fitting import fit_heads
from zoo_cli.heads.target_labels import TargetLabels
from zoo_cli.pipeline.head_config import HeadLabelConfig
from zoo_cli.pipeline.head_features import load_features
from zoo_cli.pipeline.head_labels import SPLITS
from zoo_cli.pipeline.parallel import parallel_map
from zoo_cli.store import failures, feature_files, head_store, parquet_files
from zoo_cli.store.class_names import load_class_names
from zoo_cli.store.head_store import HeadRecord
from zoo_cli.store.manifest import Images, load_manifest
from zoo_cli.store.output_summary import find_collapsed
from zoo_cli.store.provenance import fingerprint
from zoo_cli.store.records import check_value
from zoo_cli.store.source_record import has_source_record, load_source_record

SMALL = 1024


@dataclass(frozen=True)
class HeadScore:
    """How often a head is right on the labelled images, each answered by a head that has not seen its label.

    `accuracy` in [0, 1]; `low`, `high`: the ends of its 90 % interval, as of a share of so many labels; `nll`: in nats.
    A left-out label is missing from its own class alone, so that with few labels a class the accuracy is low: by 9
    points at 30 labels and 3 at 120, on the mean of eleven data sets (tests/claims/README.md).
    """

    accuracy: float
    low: float
    high: float
    nll: float


def score_heads(settings: Config, sources: Sequence[Source]) -> dict[str, HeadScore]:
    """The ridge head of each source, by name; without those of which nothing is stored, and where none can be judged.

    Columns are standardised over all labelled and unlabelled images, as for a pool.
    """
    images = _load_images(settings)
    rows = images.where(split=SPLITS)
    classes = int(images.labels[rows].max(initial=0)) + 1
    stored = [source for source in sources if has_source_record(settings, source.name)]
    if len(np.unique(images.labels[images.where(split=("labelled",))])) < 2:
        return {}
    head = specs.resolve("head", HeadLabelConfig.head)

    def score(source: Source) -> HeadScore | None:
        # The student has no features of the images of `unlabelled` in zoo.toml.
        own = rows[images.data[rows] != "unlabelled"] if source.name == STUDENT else rows
        targets = TargetLabels.of(images.labels[own], classes)
        (fitted,) = fit_heads(head, load_features(settings, [source], images.ids[own]), targets)
        if fitted.accuracy is None or fitted.nll is None:
            return None
        count = int(targets.judged.sum())
        interval = accuracy_interval(round(fitted.accuracy * count), count)
        return HeadScore(fitted.accuracy, interval.low, interval.high, fitted.nll)

    results = parallel_map(score, stored, small=len(rows) <= SMALL)
    return {source.name: result for source, result in zip(stored, results, strict=True) if result is not None}


def load_current_pool(settings: Config) -> HeadRecord | None:
    """The record of a stored pool of the present labels and sources: that of the default spec, else the one estimated
    best; None without one.
    """
    default = settings.pseudo_head(HeadLabelConfig().slug)
    records = []
    for path in sorted(default.parent.glob(f"head=*/{head_store.DOCUMENT}")):
        if not _is_current(settings, path.parent):
            continue
        record = head_store.load_record(path.parent)
        if path.parent == default:
            return record
        records.append(record)
    return max(records, key=lambda record: record.estimate.accuracy or 0.0, default=None)


def _is_current(settings: Config, folder: Path) -> bool:
    """Whether the answers in a folder are of the present labels, images and sources."""
    images = _load_images(settings)
    rows = images.where(split=SPLITS)
    try:
        inputs = parquet_files.read_header(feature_files.find_parts(folder)[0]).get("inputs", {})
        check_value(Mapping[str, str], inputs.get("sources"), f"the header of {folder}")
        sources = {name: load_source_record(settings, name).fingerprint for name in inputs["sources"]}
        if find_collapsed(settings, sources):
            return False
    except (ContractError, UsageError):
        return False
    labels = fingerprint(images.fingerprint(rows, "labels"), load_class_names(settings.classes))
    samples = images.fingerprint(rows, "ids", "sha256")
    return bool((inputs.get("labels"), inputs.get("samples"), inputs.get("sources")) == (labels, samples, sources))


def _load_images(settings: Config) -> Images:
    images = load_manifest(settings.manifest, settings.root)
    return images.without(failures.failed_ids(settings, "extract"))
