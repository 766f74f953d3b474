"""`zoo pseudo-label --head`: answers in the task's classes by heads on the sources' stored features."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from zoo_cli import console, specs
from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.errors import UsageError
from zoo_cli.heads.estimate import estimate_accuracy
from zoo_cli.heads.fitting import fit_heads, pool_heads
from zoo_cli.heads.linear_head import Head
from zoo_cli.heads.pooled import Pool
from zoo_cli.heads.standardise import Features
from zoo_cli.heads.target_labels import TargetLabels
from zoo_cli.pipeline import leakage, prepare
from zoo_cli.pipeline.head_config import HeadLabelConfig
from zoo_cli.pipeline.prepare import Needs
from zoo_cli.store import failures, feature_files, head_store
from zoo_cli.store.class_names import load_class_names
from zoo_cli.store.head_store import HeadRecord, PoolEstimate, SourceHead
from zoo_cli.store.manifest import Images
from zoo_cli.store.provenance import Inputs, Stale, fingerprint
from zoo_cli.store.source_record import load_source_record

SPLITS = ("labelled", "unlabelled")
LISTED = 1000
"""The number of images in the record: those on which the heads disagree most."""
MAKER = "pseudo-label --head"


def label_with_heads(
    settings: Config, options: HeadLabelConfig, *, overwrite: bool = False, refresh: bool = False
) -> HeadRecord:
    """The pool's answers on the labelled and unlabelled images, stored, and their record.

    Sources that have seen the task are excluded; those without a head of their own take part. Raises UsageError if no
    source is left or fewer than two classes have a label, Stale naming what differs.
    """
    images = prepare.prepare(settings, Needs(features=options.sources), refresh=refresh)
    return make_head_labels(settings, images, options, overwrite=overwrite, refresh=refresh)


def make_head_labels(
    settings: Config, images: Images, options: HeadLabelConfig, *, overwrite: bool = False, refresh: bool = False
) -> HeadRecord:
    """Store the pool's answers, unless they exist and are current."""
    head, pool = specs.resolve("head", options.head), specs.resolve("pool", options.pool)
    sources = _usable(settings, options.sources)
    images = images.without(failures.failed_ids(settings, "extract"))
    rows = images.where(split=SPLITS)
    if any(source.name == STUDENT for source in sources) and (images.data[rows] == "unlabelled").any():
        raise UsageError(
            "the student has no features of the images of `unlabelled` in zoo.toml", "leave --with-student out"
        )
    classes = load_class_names(settings.classes)
    folder = settings.pseudo_head(options.slug)
    inputs = {
        "head": head.spec,
        "pool": pool.spec,
        "sources": {source.name: load_source_record(settings, source.name).fingerprint for source in sources},
        "samples": images.fingerprint(rows, "ids", "sha256"),
        "labels": fingerprint(images.fingerprint(rows, "labels"), classes),
    }
    if not overwrite and _is_complete(folder, inputs, refresh):
        console.say(f"{folder} is up to date")
        return head_store.load_record(folder)
    targets = TargetLabels.of(images.labels[rows], len(classes))
    missing = tuple(classes[c] for c in targets.missing)
    if missing:
        console.warn(f"no labelled image of {', '.join(missing)}: the heads never answer with these classes")
    features = StoredFeatures(settings, sources, images.ids[rows])
    heads = fit_heads(head, features, targets)
    result = pool_heads(pool, features, heads, targets)
    record = _describe(options, sources, heads, result, targets, features, images.ids[rows], classes)
    for source, fitted in zip(sources, heads, strict=True):
        head_store.write_head(settings, source.name, _arrays(fitted), head.spec)
    head_store.write_answers(folder, images.ids[rows], result.probabilities, record, inputs)
    return record


@dataclass(frozen=True)
class StoredFeatures(Sequence[Features]):
    """The standardised features of sources on some images, each read on access, so that only one is in memory."""

    settings: Config
    sources: Sequence[Source]
    ids: np.ndarray

    def __len__(self) -> int:
        return len(self.sources)

    @overload
    def __getitem__(self, position: int) -> Features: ...
    @overload
    def __getitem__(self, position: slice) -> Sequence[Features]: ...
    def __getitem__(self, position: int | slice) -> Features | Sequence[Features]:
        if isinstance(position, slice):
            return [self[i] for i in range(*position.indices(len(self)))]
        source = self.sources[position]
        record = load_source_record(self.settings, source.name)
        column = "embedding" if record.features else "logits"
        folder = self.settings.features(source.name)
        outputs = feature_files.load_outputs(folder, ids=self.ids, columns=(column,), needed=(column,))
        if outputs.embedding is not None:
            return Features.of(outputs.embedding)
        assert outputs.logits is not None
        if record.output == "sigmoid":
            return Features.of(outputs.logits)
        return Features.of_probabilities(feature_files.to_probabilities(outputs.logits, "softmax"))

    def __iter__(self) -> Iterator[Features]:
        return (self[position] for position in range(len(self)))


def _usable(settings: Config, sources: Sequence[Source]) -> list[Source]:
    """The sources that have not seen the task. Raises UsageError if none is left."""
    excluded = leakage.excluded_sources(settings, [source.name for source in sources if source.name != STUDENT])
    for name, reason in excluded.items():
        console.say(f"{name} is excluded: {reason}")
    usable = [source for source in sources if source.name not in excluded]
    if not usable:
        raise UsageError("no source is left to fit a head on", "zoo rank shows why each is excluded")
    return usable


def _is_complete(folder: Path, inputs: Inputs, refresh: bool) -> bool:
    try:
        return head_store.is_complete(folder, inputs, MAKER)
    except Stale:
        if refresh:
            return False
        raise


def _describe(
    options: HeadLabelConfig,
    sources: Sequence[Source],
    heads: Sequence[Head],
    pool: Pool,
    targets: TargetLabels,
    features: Sequence[Features],
    ids: np.ndarray,
    classes: Sequence[str],
) -> HeadRecord:
    estimate = estimate_accuracy(pool, targets)
    unlabelled = targets.unlabelled
    shares = pool.probabilities[unlabelled].mean(axis=0) if len(unlabelled) else np.zeros(len(classes))
    disagreement = _disagreement(features, heads, pool, unlabelled)
    order = np.argsort(-disagreement, kind="stable")[:LISTED]
    return HeadRecord(
        head=options.head,
        pool=options.pool,
        labels=len(targets),
        images=len(ids),
        sources=tuple(
            SourceHead(source.name, head.lam, head.temperature, head.nll, head.accuracy, float(weight))
            for source, head, weight in zip(sources, heads, pool.weights, strict=True)
        ),
        estimate=PoolEstimate(estimate.accuracy, estimate.low, estimate.high, estimate.reason),
        class_shares={name: float(share) for name, share in zip(classes, shares, strict=True)},
        missing=tuple(classes[c] for c in targets.missing),
        disagreement=[(str(ids[unlabelled[i]]), round(float(disagreement[i]), 6)) for i in order],
        notes=pool.notes,
    )


def _disagreement(features: Sequence[Features], heads: Sequence[Head], pool: Pool, rows: np.ndarray) -> np.ndarray:
    """How far the heads disagree on images (M,), in nats: the weighted Jensen-Shannon divergence of their answers."""
    mixture, entropy = 0.0, np.zeros(len(rows))
    for source, head, weight in zip(features, heads, pool.weights, strict=True):
        answers = head.answer(source.values[rows])
        mixture = mixture + weight * answers
        entropy += weight * _entropy(answers)
    return np.maximum(_entropy(np.asarray(mixture)) - entropy, 0.0)


def _entropy(probabilities: np.ndarray) -> np.ndarray:
    logs = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    return np.asarray(-(probabilities * logs).sum(axis=1))


def _arrays(head: Head) -> dict[str, np.ndarray]:
    """A head as the arrays of its file. `lam` is NaN if it has none."""
    return {
        "mean": head.mean,
        "scale": head.scale,
        "weights": head.weights,
        "intercept": head.intercept,
        "present": head.present,
        "temperature": np.array([head.temperature]),
        "lam": np.array([np.nan if head.lam is None else head.lam]),
    }
