"""Stored predictions: of a run folder, or of any parquet file with id, label and logits or probs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo_cli import console
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.evaluation import flip_statistics
from zoo_cli.store import feature_files
from zoo_cli.store.checksums import is_finished
from zoo_cli.store.class_names import load_student_classes

Array = np.ndarray


@dataclass(frozen=True)
class Predictions:
    """Predictions of N samples in C classes.

    `ids` (N,), `labels` (N,), `logits` (N, C): logits or log-probabilities. `classes`: the class names, or the
    numbers from 0 if they have none. `unlabelled`: the ids left out because their label is not known.
    """

    name: str
    ids: Array
    labels: Array
    logits: Array
    classes: tuple[str, ...]
    unlabelled: Array

    def align_logits(self, reference: "Predictions") -> Array:
        """The logits (M, C) for the M samples of a reference, in its order.

        Raises ContractError if the samples differ or the labels disagree. Samples that the reference left out as
        unlabelled may be missing or present.
        """
        positions = {name: row for row, name in enumerate(self.ids)}
        expected = set(reference.ids) | set(reference.unlabelled)
        missing = [str(name) for name in reference.ids if name not in positions]
        extra = [str(name) for name in self.ids if name not in expected]
        if missing or extra:
            raise ContractError(
                f"{self.name} and {reference.name} hold different samples: {len(missing)} of {reference.name} are "
                f"missing in {self.name}, {len(extra)} are extra, e.g. {(missing or extra)[0]}",
                "compare predictions on the same samples",
            )
        rows = np.array([positions[name] for name in reference.ids], dtype=np.int64)
        labels = self.labels[rows]
        wrong = (labels >= 0) & (labels != reference.labels)
        if wrong.any():
            raise ContractError(
                f"{self.name} and {reference.name} disagree on the label of {wrong.sum()} samples, "
                f"e.g. {reference.ids[wrong][0]}",
                "they belong to different tasks or splits",
            )
        return np.asarray(self.logits[rows])

    def align_classes(self, reference: "Predictions") -> Array:
        """The predicted classes (M,) for the M samples of a reference, in its order.

        Raises ContractError as `align_logits` does, and if the numbers of classes differ.
        """
        return flip_statistics.predicted_classes(self.align_outputs(reference))

    def align_outputs(self, reference: "Predictions") -> Array:
        """The logits (M, C) as `align_logits` has them. Raises ContractError also if the numbers of classes differ."""
        if self.logits.shape[1] != reference.logits.shape[1]:
            raise ContractError(
                f"{self.name} has {self.logits.shape[1]} classes, {reference.name} has {reference.logits.shape[1]}",
                "flips need one label space",
            )
        return self.align_logits(reference)


def load_predictions(path: Path, *, labels: bool = True, classes: tuple[str, ...] | None = None) -> Predictions:
    """The predictions in a run folder or a parquet file.

    `labels`: labels are needed; samples without one are left out with a warning. `classes`: the class names, if the
    caller knows them. Raises UsageError if there is no such file, ContractError for repeated ids, values that are not
    finite, missing labels, or labels outside the classes.
    """
    file = path / "predictions.parquet" if path.is_dir() else path
    if not (is_finished(path) if path.is_dir() else file.exists()):
        raise UsageError(
            f"no run folder with predictions.parquet at {path}",
            "a run that was stopped has none yet: run the same command again",
        )
    outputs = feature_files.load_outputs(file, columns=("logits", "probs"))
    logits = outputs.to_logits()
    if logits is None:
        raise ContractError(f"{file} has neither logits nor probs")
    truth = outputs.labels if outputs.labels is not None else np.full(len(outputs.ids), -1)
    names = classes or _class_names(path, logits.shape[1])
    unlabelled = outputs.ids[truth < 0]
    if labels:
        if not (truth >= 0).any():
            raise ContractError(f"{file} has no labels", "its column label must hold the true classes")
        if len(unlabelled):
            console.warn(f"{file}: {len(unlabelled):,} samples without a label are left out")
            outputs, logits, truth = outputs.take(truth >= 0), logits[truth >= 0], truth[truth >= 0]
        if truth.max() >= logits.shape[1]:
            raise ContractError(f"{file}: label {truth.max()} is outside its {logits.shape[1]} classes")
    shown = names or tuple(str(number) for number in range(logits.shape[1]))
    return Predictions(str(path), outputs.ids, truth, logits, shown, unlabelled)


def _class_names(path: Path, count: int) -> tuple[str, ...] | None:
    """The class names in a run's config.json; None without them."""
    if path.is_dir() and (path / "config.json").exists():
        names = load_student_classes(path / "config.json")
        if names and len(names) != count:
            raise ContractError(
                f"{path / 'config.json'} names {len(names)} classes, but its predictions have {count}",
                "make the run again with --overwrite",
            )
        return names or None
    return None
