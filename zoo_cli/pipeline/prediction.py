"""What a network says of images of the task: logits, from its own evaluation view.

`zoo extract` runs no source on the test images. The judging commands may: what a source of the task's own classes says
of them is kept in `predictions/`, made again without a flag when it is stale, because nobody trains on it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_cli import console, devices, specs
from zoo_cli.config import Config, Source
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.pipeline import prepare
from zoo_cli.store import failures, feature_store, files, provenance, schemas
from zoo_cli.store.class_names import load_class_names
from zoo_cli.store.columns import to_list_column

if TYPE_CHECKING:
    import numpy as np
    import torch

    from zoo_cli.config import Preprocessing
    from zoo_cli.models.capture import FeatureExtractor
    from zoo_cli.models.loading import LoadedModel
    from zoo_cli.store.manifest import Images

BATCH = 256
HELD = ("config.json", "model.safetensors", "pytorch_model.bin")
"""The files of a model's folder on which its outputs depend."""


def predict_rows(
    network: "FeatureExtractor",
    preprocessing: "Preprocessing",
    images: "Images",
    rows: "np.ndarray",
    device: "torch.device",
    workers: int | None,
    order: Sequence[int] | None = None,
) -> "np.ndarray":
    """The logits (M, C), float32, of a network with a head on rows (M,) of the manifest.

    `order`: which of its columns stands for each class of the task, see `models.label_space`; None: as they are. The
    network is moved to `device` and put in eval mode. Raises ContractError for an image that cannot be read.
    """
    import numpy as np
    import torch

    from zoo_cli.images import decoding
    from zoo_cli.models.extraction import Normaliser

    shape = decoding.view_geometry(preprocessing)
    pixels = Normaliser(preprocessing, device)

    def batches() -> "Iterator[torch.Tensor]":
        views: list[Any] = []
        getters = [images.getter(row) for row in rows]
        for index, view in decoding.load_views(getters, [shape], devices.workers(workers)):
            if isinstance(view, decoding.BadImage):
                raise ContractError(f"{images.ids[rows[index]]}: {view}", "make the manifest again")
            views.append(view[shape])
            if len(views) == BATCH:
                yield pixels(torch.from_numpy(np.stack(views)))
                views.clear()
        if views:
            yield pixels(torch.from_numpy(np.stack(views)))

    logits = predict_views(network.to(device), batches())
    return logits if order is None else logits[:, list(order)]


def predict_views(network: "FeatureExtractor", views: "Iterable[torch.Tensor]") -> "np.ndarray":
    """The logits (M, C), float32, of a network with a head on its evaluation views, batch by batch on its device."""
    import numpy as np
    import torch

    network.eval()
    found: list[np.ndarray] = []
    with torch.inference_mode():
        for batch in views:
            # One memory order for all, channels last, because rounding depends on it; also that of a single channel.
            last = batch.permute(0, 2, 3, 1)
            held = torch.empty(last.shape, dtype=last.dtype, device=last.device).copy_(last)
            logits = network(held.permute(0, 3, 1, 2))[1]
            assert logits is not None, "a network without a head predicts nothing"
            found.append(logits.float().cpu().numpy())
    return np.concatenate(found) if found else np.zeros((0, network.tap.classes), np.float32)


def predict_source(
    settings: Config, source: Source, device: "Callable[[], torch.device]", workers: int | None
) -> tuple[Path, tuple[str, ...]]:
    """The file of a source's predictions on the test images, made first where it is missing or stale; the classes.

    `device` is asked only where there is something to run. Raises UsageError where the source answers in other classes
    than the task's.
    """
    path = settings.root / "predictions" / f"source={source.name}.parquet"
    made_from = {
        "source": provenance.fingerprint(
            feature_store.to_json_values(settings.declared(source)), file_digests(settings, source), settings.task.seed
        )
    }
    return path, _kept(settings, path, made_from, source.name, lambda: _loaded(settings, source), device, workers)


def predict_untrained(
    settings: Config, source: Source, device: "Callable[[], torch.device]", workers: int | None
) -> tuple[Path, tuple[str, ...]]:
    """As of_source, for the source's architecture with random weights, from the seed 0, in the place of its own."""
    from zoo_cli.models import architecture

    model = _loaded(settings, source)
    module = architecture.build_network(model.architecture, settings.root, source.name)
    path = settings.root / "predictions" / f"untrained={source.name}.parquet"
    said = [model.architecture.to_json(), vars(model.preprocessing), model.class_names]
    made_from = {"source": provenance.fingerprint(feature_store.to_json_values(said))}
    what = f"{source.name} without its weights"
    return path, _kept(settings, path, made_from, what, lambda: replace(model, module=module), device, workers)


def _loaded(settings: Config, source: Source) -> "LoadedModel":
    from zoo_cli.models import loading

    return loading.load_model(source, settings.root, seed=settings.task.seed)


def _kept(
    settings: Config,
    path: Path,
    made_from: Mapping[str, str],
    what: str,
    load: "Callable[[], LoadedModel]",
    device: "Callable[[], torch.device]",
    workers: int | None,
) -> tuple[str, ...]:
    """Make the predictions of a model at `path` unless they are there and current; the task's classes."""
    import numpy as np
    import pyarrow as pa

    from zoo_cli.models import label_space
    from zoo_cli.models.capture import FeatureExtractor

    images = prepare.prepare(settings, workers=workers).without(failures.failed_ids(settings, "extract"))
    classes = load_class_names(settings.classes)
    rows = images.where(split=("test",))
    if not len(rows):
        raise UsageError(f"{settings.manifest} has no test image", "name some with test = … under [task]")
    truth = [None if label < 0 else int(label) for label in images.truth()[rows]]
    inputs = {
        **made_from,
        "test images": images.fingerprint(rows, "ids", "sha256"),
        "labels": provenance.fingerprint(truth, classes),
    }
    if path.exists():
        changed = provenance.differences(_header(path), inputs)
        if not changed:
            return classes
        console.say(f"{path} was made from other inputs: {', '.join(changed)}; it is made again")
    model = load()
    order = label_space.match_classes(model.source.name, model.class_names, model.classes, classes)
    if model.class_names is None:
        console.warn(f"the class names of {what} are not known: they are taken to be the task's, in order")
    where = device()
    console.say(f"running {what} on {len(rows):,} test images")
    logits = predict_rows(
        FeatureExtractor(model.module, model.tap), model.preprocessing, images, rows, where, workers, order
    )
    bad = images.ids[rows][~np.isfinite(logits).all(axis=1)]
    if len(bad):
        raise ContractError(f"{what} gives logits that are not finite for {len(bad):,} images, e.g. {bad[0]}")
    table = pa.table(
        {
            "id": pa.array([str(name) for name in images.ids[rows]], pa.string()),
            "label": pa.array(truth, pa.int64()),
            "logits": to_list_column(logits),
        }
    )
    files.write_table(path, table, schemas.PREDICTIONS, inputs)
    return classes


def _header(path: Path) -> dict[str, Any]:
    """What stored predictions were made from; nothing that is known where the file is damaged."""
    try:
        found: dict[str, Any] = files.read_header(path).get("inputs", {})
    except ContractError:
        return {}
    return found


def file_digests(settings: Config, source: Source) -> dict[str, str]:
    """The digests of all files that a source names: weights, code, a model's folder, class names, what args name."""
    provider, rest = specs.provider("model provider", source.model)
    named = [source.weights, rest.rpartition(":")[0] if provider == "python" else rest]
    named += [value for value in source.args.values() if isinstance(value, str)]
    named += [source.classes[0]] if isinstance(source.classes, tuple) and len(source.classes) == 1 else []
    named = [name for name in named if name]
    named += [f"{name}/{held}" for name in named for held in HELD]
    return {name: files.digest(place) for name in named if (place := settings.root / name).is_file()}
