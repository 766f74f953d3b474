"""Predictions to judge: of a run folder, of anybody's parquet with id, label and logits or probs, or of a model."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_cli import config, console, devices, specs
from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.pipeline import prediction
from zoo_cli.pipeline.evaluate import named_runs
from zoo_cli.store import files

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Predictions:
    """ids (N,), labels (N,) and logits or log-probabilities (N, C); `unknown` are ids left out for want of a label.

    `classes`: their names, the numbers from 0 where nobody has `named` them.
    """

    name: str
    ids: "np.ndarray"
    labels: "np.ndarray"
    logits: "np.ndarray"
    classes: tuple[str, ...]
    unknown: "np.ndarray"
    named: bool = True

    def aligned(self, first: "Predictions") -> "np.ndarray":
        """Its logits in the order of another's samples.

        Raises ContractError where they are not the same samples or the labels disagree. Samples that the other left
        out because nobody knows their label do not count as too many.
        """
        import numpy as np

        place = {name: row for row, name in enumerate(self.ids)}
        wanted = set(first.ids) | set(first.unknown)
        missing = [str(name) for name in first.ids if name not in place]
        extra = [str(name) for name in self.ids if name not in wanted]
        if missing or extra:
            raise ContractError(
                f"{self.name} and {first.name} hold other samples: {len(missing)} of {first.name} are missing in "
                f"{self.name}, {len(extra)} are too many, e.g. {(missing or extra)[0]}",
                "compare predictions on the same samples",
            )
        rows = np.array([place[name] for name in first.ids], dtype=np.int64)
        labels = self.labels[rows]
        wrong = (labels >= 0) & (labels != first.labels)
        if wrong.any():
            raise ContractError(
                f"{self.name} and {first.name} disagree on the label of {wrong.sum()} samples, "
                f"e.g. {first.ids[wrong][0]}",
                "they were made for other tasks or splits",
            )
        return np.asarray(self.logits[rows])

    def judged(self, first: "Predictions") -> "np.ndarray":
        """The classes (N,) that it predicts for another's samples, in their order.

        Raises ContractError as `aligned` does, and for another number of classes.
        """
        from zoo_cli.evaluation import flip_statistics

        if self.logits.shape[1] != first.logits.shape[1]:
            raise ContractError(
                f"{self.name} has {self.logits.shape[1]} classes, {first.name} has {first.logits.shape[1]}",
                "flips need one label space",
            )
        return flip_statistics.predicted_classes(self.aligned(first))


@dataclass
class PredictionReader:
    """Reads the predictions that a user names, and runs the models that stand for some of them."""

    workspace: Path
    device: str
    workers: int | None

    def __post_init__(self) -> None:
        devices.workers(self.workers)

    def __call__(self, text: str, *, labels: bool = True) -> Predictions:
        """The predictions of a run folder, a parquet file or a model: what exists as a path wins over a name.

        Raises UsageError where the text names none of these, or a model of other classes than the task's.
        """
        path = named_runs.resolve_run(Path(text), self.workspace)
        return load_predictions(path, labels=labels) if path.exists() else self.of(text, labels=labels)

    def of(self, text: str, *, labels: bool = False) -> Predictions:
        """The predictions of a model, whatever else is of its name."""
        file, classes = prediction.predict_source(self.settings, self.source(text), self.where, self.workers)
        return replace(load_predictions(file, labels=labels, classes=classes), name=text)

    def source(self, text: str) -> Source:
        """The model of this name: of a [[source]], "student", or a spec. Raises UsageError where it can be none."""
        names = {source.name for source in self.settings.models}
        if text in names:
            return self.settings.find_source(text)
        if text == "student" and STUDENT in names:
            return self.settings.find_source(STUDENT)
        if ":" not in text:
            raise UsageError(
                f"no file at {text}, and no source of this name",
                "a run folder, a parquet file, a source of zoo.toml, student, or PROVIDER:NAME",
            )
        specs.provider("model provider", text)
        return self.settings.select([text])[0]

    @cached_property
    def settings(self) -> Config:
        """The workspace, read when a model is named."""
        return config.load(self.workspace)

    def where(self) -> Any:
        """The device of --device, chosen when there is something to run."""
        return self._device

    @cached_property
    def _device(self) -> Any:
        return devices.choose(self.device, purpose="predicting")


def load_predictions(path: Path, *, labels: bool = True, classes: tuple[str, ...] | None = None) -> Predictions:
    """The predictions at a path: a run folder or a parquet file; samples whose label nobody knows are left out.

    `classes`: their names, where the caller knows them. Raises ContractError for repeated ids, values that are not
    finite, or labels outside the classes.
    """
    import numpy as np

    from zoo_cli.store import feature_files

    file = path / "predictions.parquet" if path.is_dir() else path
    if not file.exists():
        raise UsageError(
            f"no run folder with predictions.parquet at {path}",
            "a run that was stopped has none yet: run the same command again",
        )
    found = feature_files.load_outputs(file, columns=("logits", "probs"))
    values = found.to_logits()
    if values is None:
        raise ContractError(f"{file} has neither logits nor probs")
    known = found.labels if found.labels is not None else np.full(len(found.ids), -1)
    names = classes or _classes(path, values.shape[1])
    unlabelled = found.ids[known < 0]
    if labels:
        if not (known >= 0).any():
            raise ContractError(f"{file} has no labels", "its column label says what is true")
        if len(unlabelled):
            console.warn(f"{file}: {len(unlabelled):,} samples without a label are left out")
            found, values, known = found.take(known >= 0), values[known >= 0], known[known >= 0]
        if known.max() >= values.shape[1]:
            raise ContractError(f"{file}: label {known.max()} is outside its {values.shape[1]} classes")
    listed = names or tuple(str(number) for number in range(values.shape[1]))
    return Predictions(str(path), found.ids, known, values, listed, unlabelled, named=names is not None)


def _classes(path: Path, count: int) -> tuple[str, ...] | None:
    """The class names beside a run's predictions; None where nobody says them."""
    if path.is_dir() and (path / "config.json").exists():
        said: Any = files.read_json(path / "config.json")
        names = said.get("zoo", {}).get("classes") if isinstance(said, dict) else None
        if isinstance(names, list) and len(names) == count:
            return tuple(map(str, names))
    return None
