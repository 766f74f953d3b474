"""A stored pool of heads as what `zoo predict --heads` runs: its sources on the new images, its formula on theirs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoo_cli import devices, registry
from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.heads.pool_formula import PoolFormula
from zoo_cli.heads.standardise import Features
from zoo_cli.images.decoding import Geometry, view_geometry
from zoo_cli.label_sets import labels_flag
from zoo_cli.models import loading
from zoo_cli.models.extraction import FeatureRunner
from zoo_cli.models.forward_passes import ForwardPasses
from zoo_cli.models.loading import LoadedModel
from zoo_cli.pipeline import feature_extraction, head_labels, part_maker
from zoo_cli.pipeline.head_config import HeadLabelConfig, configure_heads
from zoo_cli.pipeline.predict import PredictConfig
from zoo_cli.pipeline.predictor import Answers, Predictor
from zoo_cli.store import failures, feature_files, feature_store, head_store, provenance
from zoo_cli.store.class_names import load_class_names
from zoo_cli.store.manifest import load_manifest
from zoo_cli.store.provenance import Inputs
from zoo_cli.store.source_record import SourceRecord, load_source_record


def load_pool_predictor(settings: Config, options: PredictConfig) -> Predictor:
    """The pool of --head and --pool, and the sources that it needs on --device.

    For the pools that answer by neighbours, the features of the train images are read into memory. Raises UsageError if
    the pool is not stored, was made from other labels or sources, or needs a source of which only outputs are known.
    """
    labels = configure_heads(
        settings,
        options.head or registry.DEFAULT_HEAD,
        options.pool or registry.DEFAULT_POOL,
        options.sources,
        with_student=options.with_student,
    )
    folder = settings.pseudo_head(labels.slug)
    command = labels.command + labels_flag(settings)
    _check_stored(command, folder)
    stored, inputs = head_store.load_formula(folder)
    _check_current(settings, labels, folder, inputs, command)
    formula = PoolFormula.from_arrays(stored.arrays)
    classes = load_class_names(settings.classes)
    records = {name: load_source_record(settings, name) for name in stored.sources}
    sources = [_find_source(settings, name, record) for name, record in records.items()]
    _check_runnable(sources)
    models = [_load_model(settings, source, records[source.name]) for source in sources]
    train, train_answers = _load_train(settings, folder, formula, sources)
    device = devices.choose(options.device, purpose="predicting")
    runners = [
        FeatureRunner(model, device, str(record.content.get("precision", "fp32")))
        for model, record in zip(models, records.values(), strict=True)
    ]
    geometries = [view_geometry(model.preprocessing) for model in models]
    passes = ForwardPasses(device, options.batch_size, part_maker.auto_batch(device))

    def answer(views: Mapping[Geometry, np.ndarray]) -> Answers:
        tensors = {geometry: torch.from_numpy(pixels) for geometry, pixels in views.items()}
        values = []
        for source, runner, geometry in zip(sources, runners, geometries, strict=True):
            pieces = passes.run(source.name, runner.network, runner, tensors[geometry])
            values.append(_join_finite([features for features, _ in pieces], source))
        return Answers(formula.answer(values, train, train_answers))

    name = f"{labels.pool} of {len(sources)} {labels.head} heads"
    made_from = {"pool": provenance.fingerprint(inputs)}
    return Predictor(name, classes, tuple(dict.fromkeys(geometries)), passes.size, made_from, False, answer)


def _check_stored(command: str, folder: Path) -> None:
    """Raise UsageError for a pool that is not stored, naming those that are."""
    make = f"zoo {command} makes it"
    if not (folder / head_store.DOCUMENT).exists():
        pools = sorted(path.parent.name for path in folder.parent.glob(f"head=*/{head_store.DOCUMENT}"))
        stored = f"; stored are {', '.join(pools)}" if pools else ""
        raise UsageError(f"no pool of heads at {folder}", make + stored)


def _check_current(settings: Config, labels: HeadLabelConfig, folder: Path, inputs: Inputs, command: str) -> None:
    """Raise Stale, naming what differs, for a pool of other labels, images, classes or features."""
    images = load_manifest(settings.manifest, settings.root)
    images = images.without(failures.failed_ids(settings, "extract"))
    changed = provenance.differences(inputs, head_labels.pool_inputs(settings, labels, list(inputs["sources"]), images))
    if changed:
        raise provenance.stale_error(str(folder), changed, command)


def _find_source(settings: Config, name: str, record: SourceRecord) -> Source:
    """The source of zoo.toml, else as it was declared when it was extracted."""
    for source in settings.models:
        if source.name == name:
            return source
    declared = record.content["declared"].items()
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in declared}
    return Source(name, **values)


def _check_runnable(sources: list[Source]) -> None:
    stored = [source.name for source in sources if feature_store.is_outputs_only(source)]
    if stored:
        raise UsageError(
            f"only outputs are known of {', '.join(stored)}, which cannot be run on new images",
            "make a pool of the others: zoo pseudo-label --head ridge --source NAME",
        )


def _load_model(settings: Config, source: Source, record: SourceRecord) -> LoadedModel:
    """The network of a source. Raises Stale if it is not the one whose features the heads were fitted on."""
    model = loading.load_model(source, settings.root, seed=settings.task.seed, untrained=source.name == STUDENT)
    precision = str(record.content.get("precision", "fp32"))
    changed = record.changes(feature_extraction.describe_source(settings, source, model, precision))
    if changed:
        raise provenance.stale_error(str(settings.features(source.name)), changed, f"extract --source {source.name}")
    return model


def _load_train(
    settings: Config, folder: Path, formula: PoolFormula, sources: list[Source]
) -> tuple[list[Features], np.ndarray | None]:
    """The features of the train images and the pool's answers for them, if the pool answers by neighbours."""
    if formula.neighbours is None:
        return [], None
    answers = feature_files.load_outputs(folder, columns=("probs",), needed=("probs",))
    assert answers.probs is not None, "they are needed"
    train = []
    for position, source in enumerate(sources):
        outputs = feature_files.load_outputs(
            settings.features(source.name), ids=answers.ids, columns=("embedding",), needed=("embedding",)
        )
        assert outputs.embedding is not None, "it is needed"
        train.append(formula.train_features(position, outputs.embedding))
    return train, answers.probs.astype(np.float64)


def _join_finite(pieces: list[np.ndarray | None], source: Source) -> np.ndarray:
    values = np.concatenate([piece for piece in pieces if piece is not None])
    if not np.isfinite(values).all():
        raise ContractError(f"{source.name} gives features that are not finite", "leave the source out of the pool")
    return values
