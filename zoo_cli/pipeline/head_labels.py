"""`zoo pseudo-label --head`: answers in the task's classes by heads on the sources' stored features."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from zoo_cli import console
from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.heads.estimate import estimate_accuracy
from zoo_cli.heads.fitting import fit_heads, pool_heads
from zoo_cli.heads.linear_head import Head
from zoo_cli.heads.pool_formula import PoolFormula
from zoo_cli.heads.pooled import Pool
from zoo_cli.heads.standardise import Features
from zoo_cli.heads.target_labels import TargetLabels
from zoo_cli.pipeline import leakage, prepare
from zoo_cli.pipeline.head_config import HeadLabelConfig
from zoo_cli.pipeline.prepare import Needs
from zoo_cli.store import failures, feature_files, head_store
from zoo_cli.store.class_names import load_class_names
from zoo_cli.store.head_store import HeadRecord, PoolEstimate, SourceHead, StoredFormula
from zoo_cli.store.manifest import Images
from zoo_cli.store.provenance import Inputs, Stale, fingerprint
from zoo_cli.store.source_record import load_source_record

SPLITS = ("labelled", "unlabelled")
LISTED = 1000
"""The number of images in the record: those on which the heads disagree most."""
LEANINGS, LEAST_SHARE = 3, 0.05
"""The most classes that the record names for such an image, and the least share of the heads that each has."""


def label_with_heads(
    settings: Config, options: HeadLabelConfig, *, overwrite: bool = False, refresh: bool = False
) -> HeadRecord:
    """The pool's answers on the labelled and unlabelled images, stored, and their record.

    Sources that have seen the task are excluded; those without a head of their own take part. Raises UsageError if no
    source is left or fewer than two classes have a label, Stale naming what differs.
    """
    sources = select_usable(settings, options.sources, quiet=True)
    if any(source.name == STUDENT for source in sources) and settings.task.unlabelled:
        raise UsageError(
            "the student has no features of the images of `unlabelled` in zoo.toml", "leave --with-student out"
        )
    images = prepare.prepare(settings, Needs(features=sources, two_classes=True), refresh=refresh)
    return make_head_labels(settings, images, options, overwrite=overwrite, refresh=refresh)


def make_head_labels(
    settings: Config, images: Images, options: HeadLabelConfig, *, overwrite: bool = False, refresh: bool = False
) -> HeadRecord:
    """Store the pool's answers, unless they exist and are current."""
    head, pool = options.head_method, options.pool_method
    sources = select_usable(settings, options.sources)
    images = images.without(failures.failed_ids(settings, "extract"))
    rows = images.where(split=SPLITS)
    classes = load_class_names(settings.classes)
    folder = settings.pseudo_head(options.slug)
    inputs = pool_inputs(settings, options, [source.name for source in sources], images)
    if not overwrite and _is_complete(folder, inputs, options.command, refresh):
        console.say(f"{folder} is up to date")
        record = head_store.load_record(folder)
        _warn_missing(record.missing)
        return record
    targets = TargetLabels.of(images.labels[rows], len(classes))
    _warn_missing([classes[c] for c in targets.missing])
    features = StoredFeatures(settings, sources, images.ids[rows])
    heads = fit_heads(head, features, targets)
    result = pool_heads(pool, features, heads, targets)
    record = _describe(options, sources, heads, result, targets, features, images.ids[rows], classes)
    for source, fitted in zip(sources, heads, strict=True):
        head_store.write_head(settings, source.name, _arrays(fitted), head.spec)
    formula, used = PoolFormula.of(result, heads)
    names = tuple(sources[position].name for position in used)
    head_store.write_formula(folder, StoredFormula(names, formula.to_arrays()), inputs)
    head_store.write_answers(folder, images.ids[rows], result.probabilities, record, inputs)
    return record


def pool_inputs(settings: Config, options: HeadLabelConfig, sources: Sequence[str], images: Images) -> Inputs:
    """What a pool of the heads of these sources is made from. `images`: without those that failed."""
    rows = images.where(split=SPLITS)
    return {
        "head": options.head_method.spec,
        "pool": options.pool_method.spec,
        "sources": {name: load_source_record(settings, name).fingerprint for name in sources},
        "samples": images.fingerprint(rows, "ids", "sha256"),
        "labels": fingerprint(images.fingerprint(rows, "labels"), load_class_names(settings.classes)),
    }


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
        if not record.features and not record.classes:
            raise ContractError(
                f"{source.name} stores neither features nor outputs: no head can be fitted",
                f"zoo extract --source {source.name} --overwrite makes them again, or leave it out",
            )
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


def select_usable(settings: Config, sources: Sequence[Source], *, quiet: bool = False) -> list[Source]:
    """The sources that have not seen the task. Names the others, unless `quiet`. Raises UsageError if none is left."""
    names = [source.name for source in sources if source.name != STUDENT]
    excluded = (leakage.find_leaks if quiet else leakage.excluded_sources)(settings, names)
    for name, reason in () if quiet else excluded.items():
        console.say(f"{name} is excluded: {reason}")
    usable = [source for source in sources if source.name not in excluded]
    if not any(source.name in names for source in usable):
        reasons = ", ".join(f"{name} {reason}" for name, reason in excluded.items())
        raise UsageError(
            f"no source is left to fit a head on: {reasons}",
            "add a source that has not seen this task, or correct its trained_on in zoo.toml",
        )
    return usable


def _warn_missing(classes: Sequence[str]) -> None:
    if classes:
        console.warn(f"no labelled image of {', '.join(classes)}: the heads never answer with these classes")


def _is_complete(folder: Path, inputs: Inputs, maker: str, refresh: bool) -> bool:
    try:
        return head_store.is_complete(folder, inputs, maker)
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
    disagreement, mixture = _disagreement(features, heads, pool, unlabelled)
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
        leaning=[_leaning(mixture[i], classes) for i in order],
        notes=pool.notes,
    )


def _disagreement(
    features: Sequence[Features], heads: Sequence[Head], pool: Pool, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How far the heads disagree on images (M,), in nats, and the weighted mean (M, C) of their answers.

    The former is the weighted Jensen-Shannon divergence of the answers.
    """
    mixture, entropy = np.zeros((len(rows), heads[0].classes)), np.zeros(len(rows))
    if not len(rows):
        return entropy, mixture
    for source, head, weight in zip(features, heads, pool.weights, strict=True):
        answers = head.answer(source.values[rows])
        mixture += weight * answers
        entropy += weight * _entropy(answers)
    return np.maximum(_entropy(mixture) - entropy, 0.0), mixture


def _leaning(shares: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """The classes to which most of the heads lean, the most likely first, with their shares."""
    order = np.argsort(-shares, kind="stable")[:LEANINGS]
    return {classes[c]: round(float(shares[c]), 4) for c in order if shares[c] >= LEAST_SHARE}


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
