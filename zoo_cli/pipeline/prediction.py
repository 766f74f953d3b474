"""The predictions of sources on the test images, kept in predictions/.

`zoo extract` runs no source on the test images; the commands that evaluate may. Stale predictions are made again
without a flag, because nothing is trained on them.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from zoo_cli import console, devices
from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.models import architecture, label_space, loading
from zoo_cli.models.loading import LoadedModel
from zoo_cli.pipeline import class_orders
from zoo_cli.store import failures, feature_store, parquet_files, provenance, schemas, weights_origin
from zoo_cli.store.class_names import load_class_names
from zoo_cli.store.columns import to_list_column
from zoo_cli.store.manifest import Images
from zoo_cli.store.provenance import Inputs
from zoo_cli.training import inference
from zoo_cli.training.source_files import file_digests

Device = Callable[[], torch.device]
"""Chooses the device when there is something to run."""


def predict_source(
    settings: Config, images: Images, source: Source, device: Device, workers: int | None
) -> tuple[Path, tuple[str, ...]]:
    """The file of a source's predictions on the test images, made if it is missing or stale, and the classes.

    Raises UsageError if the source has other classes than the task.
    """
    if source.name != STUDENT:
        loading.require_weights(source)
    path = settings.root / "predictions" / f"source={source.name}.parquet"
    declared = feature_store.to_json_values(settings.declared(source))
    made_from = {"source": provenance.fingerprint(declared, file_digests(settings, source), settings.task.seed)}
    load = partial(_load_model, settings, source, untrained=source.name == STUDENT)
    random = weights_origin.describe_origin(source.model, source.weights) == weights_origin.UNTRAINED
    return path, _keep_predictions(settings, images, path, made_from, source.name, load, device, workers, random=random)


def predict_untrained(
    settings: Config, images: Images, source: Source, device: Device, workers: int | None
) -> tuple[Path, tuple[str, ...]]:
    """As `predict_source`, for the source's architecture with random weights from seed 0."""
    model = _load_model(settings, source, untrained=True)
    module = architecture.build_network(model.architecture, settings.root, source.name)
    path = settings.root / "predictions" / f"untrained={source.name}.parquet"
    parts = [model.architecture.to_json(), vars(model.preprocessing), model.class_names]
    made_from = {"source": provenance.fingerprint(feature_store.to_json_values(parts))}
    name = f"{source.name} without its weights"
    load = partial(replace, model, module=module)
    return path, _keep_predictions(settings, images, path, made_from, name, load, device, workers, random=True)


def _load_model(settings: Config, source: Source, *, untrained: bool) -> LoadedModel:
    return loading.load_model(source, settings.root, seed=settings.task.seed, untrained=untrained)


def _keep_predictions(
    settings: Config,
    images: Images,
    path: Path,
    made_from: Inputs,
    name: str,
    load: Callable[[], LoadedModel],
    device: Device,
    workers: int | None,
    *,
    random: bool,
) -> tuple[str, ...]:
    """Write the predictions of a model, unless they are there and current; the classes of the task.

    `random`: its weights are random, so that no image can refute the order of its classes.
    """
    images = images.without(failures.failed_ids(settings, "extract"))
    classes = load_class_names(settings.classes)
    rows = images.where(split=("test",))
    if not len(rows):
        raise UsageError(f"{settings.manifest} has no test image", "set test under [task] in zoo.toml")
    truth = [None if label < 0 else int(label) for label in images.truth()[rows]]
    inputs = {
        **made_from,
        "test images": images.fingerprint(rows, "ids", "sha256"),
        "labels": provenance.fingerprint(truth, classes),
    }
    if path.exists():
        changed = provenance.differences(_read_inputs(path), inputs)
        if not changed:
            return classes
        console.say(f"{path} was made from other inputs: {', '.join(changed)}; it is made again")

    model = load()
    order = label_space.match_classes(model.source.name, model.class_names, model.classes, classes)
    network = model.extractor()

    def predict(chosen: np.ndarray) -> np.ndarray:
        with devices.arithmetic(chosen_device, "fp32"):
            return inference.predict_rows(network, model.preprocessing, images, chosen, chosen_device, workers, order)

    chosen_device = device()
    console.say(f"running {name} on {len(rows):,} test images")
    logits = predict(rows)
    bad = images.ids[rows][~np.isfinite(logits).all(axis=1)]
    if len(bad):
        raise ContractError(f"{name} gives logits that are not finite for {len(bad):,} images, e.g. {bad[0]}")
    if model.class_names is None:
        if random:
            console.warn(f"the class names of {name} are not known: they are taken to be the task's, in order")
        else:
            class_orders.assume_order(name, classes, images, predict)
    table = pa.table(
        {
            "id": pa.array([str(name) for name in images.ids[rows]], pa.string()),
            "label": pa.array(truth, pa.int64()),
            "logits": to_list_column(logits),
        }
    )
    parquet_files.write_table(path, table, schemas.PREDICTIONS, inputs)
    return classes


def _read_inputs(path: Path) -> Inputs:
    """The inputs from which stored predictions were made; empty if the file is damaged."""
    try:
        inputs: Inputs = parquet_files.read_header(path).get("inputs", {})
    except ContractError:
        return {}
    return inputs
