"""The student of a run: the network it starts as, and the files it ends as."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from zoo_cli import specs
from zoo_cli.config import Config, Source
from zoo_cli.errors import ParameterError, UsageError
from zoo_cli.models import cost, label_space, loading, student
from zoo_cli.models.loading import LoadedModel
from zoo_cli.models.recorded_weights import confirm_weights
from zoo_cli.models.student import Student
from zoo_cli.store import files, image_lists, parquet_files, provenance, schemas, weights_origin
from zoo_cli.store.checksums import IMAGES
from zoo_cli.store.columns import to_list_column
from zoo_cli.training import inference, loop
from zoo_cli.training.image_cache import ImageCache
from zoo_cli.training.run_card import Lineage, render_card
from zoo_cli.training.run_folder import RunFolder


def build_student(
    settings: Config,
    source: Source,
    init: str | None,
    classes: tuple[str, ...],
    seed: int,
    *,
    untrained: bool = True,
) -> Student:
    """A student for the classes (C,) with a new head. `init`: the source whose weights its body starts from.

    `untrained`: without declared weights it starts from random ones. Raises UsageError if the source `init` has another
    architecture.
    """
    model = _load_confirmed(settings, source, seed, untrained=untrained)
    if init is not None:
        init_model = _load_confirmed(settings, settings.select([init])[0], seed)
        channels = init_model.preprocessing.channels
        if channels != model.preprocessing.channels:
            raise ParameterError(
                f"`init` {init} takes images of {channels} channels, the network to train of "
                f"{model.preprocessing.channels}",
                "use two networks for equal numbers of channels",
            )
        head = () if model.tap.head is None else (f"{model.tap.head}.",)
        body = {key: value for key, value in model.module.state_dict().items() if not key.startswith(head)}
        weights = init_model.module.state_dict()
        unfit = [key for key, value in body.items() if key not in weights or weights[key].shape != value.shape]
        if unfit:
            raise ParameterError(
                f"`init` {init} has another architecture than the student: {len(unfit)} of {len(body)} weights do not "
                f"fit, e.g. {unfit[0]}",
                "name that source as `student` instead",
            )
        model.module.load_state_dict({key: weights[key] for key in body}, strict=False)
        model = replace(model, weights_sha256=init_model.weights_sha256)
    return student.build_student(model, classes, seed)


def continue_student(settings: Config, source: Source, classes: tuple[str, ...], seed: int) -> Student:
    """A student that keeps its head if it was trained for these classes (C,), by name; else gets a new one."""
    model = _load_confirmed(settings, source, seed, untrained=True)
    if _has_head_for(model, classes):
        return as_trained_student(model, classes)
    return student.build_student(model, classes, seed)


def has_trained_head(settings: Config, source: Source, classes: tuple[str, ...]) -> bool:
    """Whether a student comes with a trained head for these classes (C,), by name."""
    if specs.provider("model provider", source.model)[0] != "file" and source.weights in ("", weights_origin.RANDOM):
        return False
    return _has_head_for(loading.load_model(source, settings.root, seed=settings.task.seed), classes)


def _has_head_for(model: LoadedModel, classes: tuple[str, ...]) -> bool:
    return bool(model.tap.head) and model.class_names is not None and sorted(model.class_names) == sorted(classes)


def load_network(settings: Config, source: Source, seed: int) -> LoadedModel:
    """The network of a student that is already trained for the task."""
    return _load_confirmed(settings, source, seed, untrained=True)


def _load_confirmed(settings: Config, source: Source, seed: int, *, untrained: bool = False) -> LoadedModel:
    """A model with the weights of its first use, or recorded as such. Raises Stale for others."""
    model = loading.load_model(source, settings.root, seed=seed, untrained=untrained)
    confirm_weights(settings, model)
    return model


def as_trained_student(model: LoadedModel, classes: tuple[str, ...]) -> Student:
    """A network that is already trained for the task as a student, with its own head.

    Raises UsageError if its classes are not those of the task.
    """
    name = model.source.name
    try:
        order = label_space.match_classes(name, model.class_names, model.classes, classes)
    except UsageError as error:
        raise UsageError(error.message, f"train it for the task first: zoo finetune {name}") from None
    return student.build_trained_student(model, classes, order)


def write_student(
    run: RunFolder, trained: Student, cache: ImageCache, rows: np.ndarray, seen: Iterable[str] | None, lineage: Lineage
) -> None:
    """Write the files of a student, its predictions of these rows (M,) last, and seal the run.

    `seen`: the digests of the images that it was trained on, None if not all of them are known. `lineage`: for the
    card.
    """
    logits = predict_logits(run, trained, cache, rows)
    run.confirm()
    run.add_to_record("size", measure_size(trained))
    files.write_tensors(run.path / "model.safetensors", trained.plain_state_dict(), {"format": "pt"})
    files.write_json(run.path / "config.json", trained.config(run.path))
    files.write_text(run.path / "README.md", render_card(run.place.name, run.record, trained, lineage))
    if seen is not None:
        image_lists.write_image_list(run.path / IMAGES, seen)
    write_predictions(run.path / "predictions.parquet", run, cache, rows, logits)
    run.seal()


def predict_logits(run: RunFolder, trained: Student, cache: ImageCache, rows: np.ndarray) -> np.ndarray:
    """The logits (M, C) of a student for rows (M,). Raises NonFinite if one is not finite."""
    own_cache = cache.holding(rows)
    if own_cache is not None:
        logits = inference.predict_cached(trained, trained.preprocessing, own_cache, rows)
    else:
        logits = inference.predict_rows(trained, trained.preprocessing, cache.images, rows, cache.device, cache.workers)
    if not np.isfinite(logits).all():
        raise loop.NonFinite(run.record["options"]["steps"], "a logit of the student")
    return logits


def write_predictions(path: Path, run: RunFolder, cache: ImageCache, rows: np.ndarray, logits: np.ndarray) -> None:
    """Write the logits (M, C) of rows (M,), and their known labels."""
    images = cache.images
    truth = images.truth()[rows]
    table = pa.table(
        {
            "id": pa.array([str(name) for name in images.ids[rows]], pa.string()),
            "label": pa.array([None if label < 0 else int(label) for label in truth], pa.int64()),
            "logits": to_list_column(logits.astype(np.float32, copy=False)),
        }
    )
    parquet_files.write_table(path, table, schemas.PREDICTIONS, {"run": provenance.fingerprint(run.record)})


def measure_size(trained: Student) -> dict[str, int]:
    """The parameters of a student in eval mode, and its multiply-accumulates for one image."""
    preprocessing = trained.preprocessing
    macs = cost.count_macs(trained.module, preprocessing.channels, preprocessing.input_size)
    return {"parameters": cost.count_parameters(trained.module), "macs": macs}
