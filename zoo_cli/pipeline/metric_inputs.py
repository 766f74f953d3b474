"""The arrays that metrics read of a source: features or probabilities, and further ones that some of them need."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from zoo_cli.config import Config, Source
from zoo_cli.errors import ContractError
from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.probe import Probe
from zoo_cli.store import files, gradient_store, model_folders, parquet_files, schemas
from zoo_cli.store.columns import to_matrix
from zoo_cli.store.feature_files import StoredOutputs
from zoo_cli.store.gradient_store import GradientRecord
from zoo_cli.store.provenance import Inputs
from zoo_cli.store.source_record import has_source_record, load_source_record


class MissingInput(Exception):
    """An array that this source does not have; `reason` is shown to the user, and the source is skipped."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class SourceOutputs:
    """One source, read once: its stored `outputs` of the samples `ids` (N,), from which a metric's inputs are made.

    `settings` is None if outputs are given by path and there may be no workspace. `output`: softmax or sigmoid.
    `folder`: the folder of the outputs and of the files beside them, None for a single file; `reference` (N, D'):
    features of a network trained on the target, for the same samples. `collapsed`: the outputs are the same for all
    images, so that no score is defined.
    """

    settings: Config | None
    name: str
    ids: np.ndarray
    outputs: StoredOutputs | None
    output: str
    folder: Path | None = None
    reference: np.ndarray | None = None
    collapsed: bool = False


@dataclass(frozen=True)
class InputSpec:
    """How an array is obtained. `read` returns it or raises MissingInput.

    `columns`: the columns of the source's stored parts that it needs. `digest`, for a source: what else it is made
    from, so that a change makes scores stale. `gradients`: whether it is made from stored gradients, which are
    extracted only if a metric needs them.
    """

    read: Callable[[SourceOutputs], Any]
    columns: tuple[str, ...] = ()
    digest: Callable[[Config, str], Any] | None = None
    gradients: bool = False


def features(source: SourceOutputs) -> np.ndarray:
    """Penultimate features (N, D)."""
    if source.outputs is None or source.outputs.embedding is None:
        raise MissingInput("no features: it has only outputs")
    return source.outputs.embedding


def probs(source: SourceOutputs) -> np.ndarray:
    """Probabilities (N, K) of the source's own classes, float64."""
    values = None if source.outputs is None else source.outputs.probabilities(source.output)
    if values is None:
        raise MissingInput("no probabilities: it has no head")
    return values


def logits(source: SourceOutputs) -> np.ndarray:
    """The source's own outputs (N, K) before softmax or sigmoid."""
    if source.outputs is None or source.outputs.logits is None:
        raise MissingInput("no logits: it has no head, or only its probabilities are known")
    return source.outputs.logits


def reference(source: SourceOutputs) -> np.ndarray:
    """Features (N, D') of a network trained on the target."""
    if source.reference is None:
        raise MissingInput("no --reference: features of a network trained on the task")
    return source.reference


def source_means(source: SourceOutputs) -> np.ndarray:
    """The mean feature of each class that the source was trained on (K, D)."""
    column = _source_classes(source).column("mean")
    return to_matrix(column, f"column mean of {schemas.SOURCE_MEANS.file} of {source.name}")


def source_counts(source: SourceOutputs) -> np.ndarray:
    """The number of training images of each of them (K,)."""
    counts: np.ndarray = _source_classes(source).column("count").to_numpy()
    return counts


def gradient(source: SourceOutputs) -> np.ndarray:
    """Gradients (N, P) of the source's outputs, whose inner products are summed over the outputs."""
    return _gradients(source, "gradient")


def gradient_sum(source: SourceOutputs) -> np.ndarray:
    """Gradients (N, P) of the sum of the source's outputs."""
    return _gradients(source, "gradient_sum")


def projected_gradients(source: SourceOutputs) -> tuple[str, ...]:
    """Which of the two gradients are projected: "trace", "sum"."""
    projected = _gradient_record(source).projected
    return tuple(outputs for outputs, column in (("trace", "gradient"), ("sum", "gradient_sum")) if column in projected)


def _source_classes(source: SourceOutputs) -> pa.Table:
    path = None if source.folder is None else source.folder / schemas.SOURCE_MEANS.file
    if source.settings is not None:
        path = _means_file(source.settings, source.name)
    if path is None or not path.exists():
        raise MissingInput("missing source class means")
    table = parquet_files.read_table(path, schemas.SOURCE_MEANS)
    names = table.column("class").to_pylist()
    if len(set(names)) < len(names):
        raise ContractError(f"{path} names a class twice", "expected one row per class")
    return table


def _source_classes_digest(settings: Config, source: str) -> str | None:
    path = _means_file(settings, source)
    return files.digest(path) if path is not None else None


def _means_file(settings: Config, name: str) -> Path | None:
    """The class means of a source: beside its features, else in the folder of the expert that it is; None without any.

    Those of an expert are of its own features: they do not count for a source that changes how these are made.
    """
    path = settings.features(name) / schemas.SOURCE_MEANS.file
    if path.exists():
        return path
    source = next((each for each in settings.models if each.name == name), None)
    if source is None and has_source_record(settings, name):
        source = Source(name, str(load_source_record(settings, name).content.get("model", "")))
    if source is None or (folder := model_folders.find_domain_files(source.model, settings.root)) is None:
        return None
    is_plain = settings.declared(source) == settings.declared(Source(name, source.model, output=source.output))
    path = folder / schemas.SOURCE_MEANS.file
    return path if is_plain and path.exists() else None


def _gradients_digest(settings: Config, source: str) -> Any:
    record = gradient_store.load_gradient_record(settings, source)
    return None if record is None else vars(record)


def _gradients(source: SourceOutputs, column: str) -> np.ndarray:
    _gradient_record(source)
    assert source.settings is not None
    return gradient_store.load_gradients(source.settings, source.name, source.ids, column)


def _gradient_record(source: SourceOutputs) -> GradientRecord:
    if source.settings is None:
        raise MissingInput("no gradients: only zoo extract --gradients computes them")
    record = gradient_store.load_gradient_record(source.settings, source.name)
    if record is None:
        raise MissingInput("no gradients: it has no head, or only its stored outputs are known")
    return record


REPRESENTATIONS: dict[str, InputSpec] = {
    "features": InputSpec(features, ("embedding",)),
    "probs": InputSpec(probs, ("logits", "probs")),
    "gradients": InputSpec(gradient),
}
"""The representations that --on names, and the one that lgc reads."""

NEEDS: dict[str, InputSpec] = {
    "logits": InputSpec(logits, ("logits",)),
    "probs": InputSpec(probs, ("logits", "probs")),
    "reference": InputSpec(reference),
    "source_means": InputSpec(source_means, digest=_source_classes_digest),
    "source_counts": InputSpec(source_counts),
    "gradients_sum": InputSpec(gradient_sum, digest=_gradients_digest, gradients=True),
    "projected_gradients": InputSpec(projected_gradients),
}
"""The further arrays of a `Probe`, by their names there; `needs` in the registry lists those that a metric reads."""


def stored_columns(representations: Iterable[str], needs: Iterable[str]) -> tuple[str, ...]:
    """The columns of stored outputs that these representations and needs read."""
    inputs = [REPRESENTATIONS[name] for name in representations] + [NEEDS[name] for name in needs]
    return tuple(dict.fromkeys(column for spec in inputs for column in spec.columns))


def input_digests(settings: Config, needs: Iterable[str], source: str) -> Inputs:
    """What the needed arrays of a source are made from beyond its stored outputs."""
    return {name: digest(settings, source) for name in needs if (digest := NEEDS[name].digest) is not None}


def needs_gradients(needs: Iterable[str]) -> bool:
    """Whether one of the needed arrays is made from stored gradients."""
    return any(NEEDS[name].gradients for name in needs)


def load_probe(source: SourceOutputs, target: Classes, on: str, needs: Iterable[str]) -> tuple[Probe, dict[str, str]]:
    """The probe of a source on one representation, and which of the needed arrays are missing, each with its reason.

    Raises MissingInput if the representation itself is missing.
    """
    further: dict[str, Any] = {}
    missing: dict[str, str] = {}
    inputs = REPRESENTATIONS[on].read(source)
    for name in needs:
        try:
            further[name] = NEEDS[name].read(source)
        except MissingInput as absent:
            missing[name] = absent.reason
    return Probe.of(inputs, target, name=source.name, **further), missing
