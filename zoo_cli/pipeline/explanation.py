"""`zoo rank --explain SOURCE`: the classes that make a source good, and those that do not."""

import math
from dataclasses import dataclass

import numpy as np

from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.errors import UsageError
from zoo_cli.metrics import class_auc
from zoo_cli.pipeline import prepare
from zoo_cli.pipeline.prepare import Needs
from zoo_cli.pipeline.probe_set import probe_rows
from zoo_cli.store import feature_files
from zoo_cli.store.class_names import load_class_names
from zoo_cli.store.source_record import load_source_record


@dataclass(frozen=True)
class ClassRow:
    """One class of the probe set: how often a pair of its samples is nearer than a pair with another class.

    `n`: its samples; `auc`: by the source, `student`: by the student's starting features; None if undefined.
    """

    name: str
    n: int
    auc: float | None
    student: float | None


def explain_source(settings: Config, name: str, on: str, *, refresh: bool = False) -> list[ClassRow]:
    """The classes of the probe set, those that the source separates best first. `on`: features or probs."""
    source = settings.select([name])[0]
    sources = [source, *(model for model in settings.models if model.name == STUDENT and model.name != source.name)]
    images = prepare.prepare(settings, Needs(features=sources), refresh=refresh)
    rows = probe_rows(settings, images)
    names = load_class_names(settings.classes)
    ids, labels = images.ids[rows], images.labels[rows]
    aucs = [class_auc.class_auc(_load_inputs(settings, model, ids, on), labels) for model in sources]
    classes, counts = np.unique(labels, return_counts=True)
    table = [
        ClassRow(names[label], int(counts[c]), _defined(aucs[0][c]), _defined(aucs[1][c]) if len(aucs) > 1 else None)
        for c, label in enumerate(classes)
    ]
    return sorted(table, key=lambda row: (row.auc is None, -(row.auc or 0.0), row.name))


def _load_inputs(settings: Config, source: Source, ids: np.ndarray, on: str) -> np.ndarray:
    record = load_source_record(settings, source.name)
    column = "embedding" if on == "features" else "logits"
    if not (record.features if on == "features" else record.classes):
        raise UsageError(f"{source.name} has no {on} stored", "use --on with the other representation")
    outputs = feature_files.load_outputs(settings.features(source.name), ids=ids, columns=(column,))
    inputs = outputs.embedding if on == "features" else outputs.probabilities(record.output)
    assert inputs is not None
    return inputs


def _defined(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
