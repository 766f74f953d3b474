"""A trained student, or another model with a head, as what `zoo predict` runs."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zoo_cli import console, devices, specs
from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.evaluation import named_runs
from zoo_cli.images.decoding import Geometry, view_geometry
from zoo_cli.models import file, loading
from zoo_cli.models.extraction import Normaliser
from zoo_cli.models.forward_passes import ForwardPasses
from zoo_cli.models.loading import LoadedModel
from zoo_cli.pipeline.predict import PredictConfig
from zoo_cli.pipeline.predictor import Answers, Predictor
from zoo_cli.store import feature_files, provenance
from zoo_cli.store.checksums import is_finished
from zoo_cli.store.class_names import load_student_classes
from zoo_cli.store.feature_store import to_json_values
from zoo_cli.store.model_folders import find_folder
from zoo_cli.training import inference


def load_run_predictor(settings: Config, options: PredictConfig) -> Predictor:
    """The student of a run, with its own preprocessing and class names, on --device; or a model by PROVIDER:NAME.

    Raises UsageError if there is none, if its training is not finished, or if it has no head.
    """
    assert options.run is not None
    source = find_model(settings, options.run)
    model = loading.load_model(source, settings.root, seed=settings.task.seed)
    if model.tap.head is None:
        raise UsageError(f"{source.name} has no head: it predicts no classes", "a pool of heads may use its features")
    classes = model.class_names or _number_classes(settings, source, model)
    device = devices.choose(options.device, purpose="predicting")
    network = model.extractor().eval()
    normalise = Normaliser(model.preprocessing, device)
    geometry = view_geometry(model.preprocessing)
    passes = ForwardPasses(device, options.batch_size, inference.BATCH)

    def predict_piece(images: Tensor) -> np.ndarray:
        with devices.arithmetic(device, "fp32"):
            return inference.predict_batch(network, normalise(images))

    def answer(views: Mapping[Geometry, np.ndarray]) -> Answers:
        pieces = passes.run(source.name, network, predict_piece, torch.from_numpy(views[geometry]))
        logits = np.concatenate(pieces)
        return Answers(feature_files.to_probabilities(logits, model.output), logits)

    parts = [model.weights_sha256, model.architecture.to_json(), vars(model.preprocessing), model.output]
    inputs = {"model": provenance.fingerprint(to_json_values(parts))}
    return Predictor(source.name, classes, (geometry,), passes.size, inputs, True, answer)


def find_model(settings: Config, text: str) -> Source:
    """The student of a run folder or of a run by name, or a model of zoo.toml or by PROVIDER:NAME.

    A folder wins over a name. Raises UsageError if there is none, naming the runs of the workspace.
    """
    path = named_runs.resolve_run(Path(text), settings.root)
    if path.is_dir():
        is_run = (path / "run.json").is_file()
        if not (path / file.CONFIG).is_file() or (is_run and not is_finished(path)):
            raise UsageError(f"no trained student at {path}", "a run that was stopped has none yet: call it again")
        return Source(path.resolve().name, f"file:{path.resolve()}")
    if path.is_file():
        hint = (
            f"as a model it is onnx:{text}"
            if path.suffix == ".onnx"
            else "name the folder, or a model as PROVIDER:NAME"
        )
        raise UsageError(f"{path} is a file, not the folder of a run", hint)
    names = {source.name for source in settings.models}
    if text in names:
        return settings.find_source(text)
    if text == "student" and STUDENT in names:
        return settings.find_source(STUDENT)
    if ":" in text:
        return settings.select([text])[0]
    runs = [run.name for run in named_runs.finished_beside(settings.root / "runs")]
    raise specs.nearest("run", text, runs)


def _number_classes(settings: Config, source: Source, model: LoadedModel) -> tuple[str, ...]:
    """Names for classes that have none. Raises ContractError for a run that names another number of classes."""
    folder = find_folder(source.model, settings.root)
    path = settings.root if folder is None else folder / file.CONFIG
    if folder is not None and (names := load_student_classes(path)):
        raise ContractError(f"{path} names {len(names)} classes, but its model has {model.classes}", "restore the file")
    console.warn(f"the class names of {source.name} are not known: its classes are numbered from 0")
    return tuple(map(str, range(model.classes)))
