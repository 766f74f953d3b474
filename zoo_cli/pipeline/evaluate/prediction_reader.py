"""Predictions of what a user names: a run folder, a parquet file, or a model that is run on the test images."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from zoo_cli import config, devices, registry, specs
from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.errors import UsageError
from zoo_cli.evaluation import named_runs, predictions
from zoo_cli.evaluation.predictions import Predictions
from zoo_cli.pipeline import prepare
from zoo_cli.store.manifest import Images

# By name, so that stored predictions are read without torch.
PREDICT = "zoo_cli.pipeline.prediction:predict_source"
PREDICT_UNTRAINED = "zoo_cli.pipeline.prediction:predict_untrained"


@dataclass
class PredictionReader:
    """Reads stored predictions, and runs the models named beside them on --device with --workers threads."""

    workspace: Path
    device_name: str
    workers: int | None

    def __post_init__(self) -> None:
        devices.workers(self.workers)

    def read(self, text: str, *, labels: bool = True) -> Predictions:
        """The predictions of a run folder, a parquet file or a model: an existing path wins over a name.

        Raises UsageError if the text names none of these, or a model of other classes than the task's.
        """
        path = named_runs.resolve_run(Path(text), self.workspace)
        return predictions.load_predictions(path, labels=labels) if path.exists() else self.predict(text, labels=labels)

    def predict(self, text: str, *, labels: bool = False) -> Predictions:
        """The predictions of a model, even if a path of its name exists."""
        model = self.find_model(text)  # before the images: a mistyped name makes no manifest
        predict: Callable[..., tuple[Path, tuple[str, ...]]] = registry.import_target(PREDICT)
        file, classes = predict(self.settings, self.images, model, self.device, self.workers)
        return replace(predictions.load_predictions(file, labels=labels, classes=classes), name=text)

    def predict_untrained(self, model: Source) -> Predictions:
        """The predictions of a model's architecture with random weights."""
        predict: Callable[..., tuple[Path, tuple[str, ...]]] = registry.import_target(PREDICT_UNTRAINED)
        file, _ = predict(self.settings, self.images, model, self.device, self.workers)
        return predictions.load_predictions(file, labels=False)

    def find_model(self, text: str) -> Source:
        """The model of this name: of a [[source]], "student", or PROVIDER:NAME. Raises UsageError if there is none."""
        names = {source.name for source in self.settings.models}
        if text in names:
            return self.settings.find_source(text)
        if text == "student" and STUDENT in names:
            return self.settings.find_source(STUDENT)
        if ":" not in text:
            raise UsageError(
                f"no file at {text}, and no source of this name",
                "name a run folder, a parquet file, a source of zoo.toml, student, or PROVIDER:NAME",
            )
        specs.provider("model provider", text)
        return self.settings.select([text])[0]

    @cached_property
    def settings(self) -> Config:
        """The workspace, loaded when a model is first named."""
        return config.load(self.workspace)

    @cached_property
    def images(self) -> Images:
        """The images of the workspace, split first if they are not, once a model is named."""
        return prepare.prepare(self.settings, workers=self.workers)

    def device(self) -> Any:
        """The torch.device of --device, chosen when there is something to run."""
        return self._device

    @cached_property
    def _device(self) -> Any:
        return devices.choose(self.device_name, purpose="predicting")
