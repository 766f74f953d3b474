"""What metrics read of a source: its features or probabilities, and the further arrays that some of them need."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_cli.config import Config
from zoo_cli.errors import ContractError
from zoo_cli.store import files, gradient_store, schemas
from zoo_cli.store.columns import to_matrix

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from zoo_cli.metrics.labels import Classes
    from zoo_cli.metrics.probe import Probe
    from zoo_cli.store.feature_files import StoredOutputs


class MissingInput(Exception):
    """An array that this source does not have. The source is skipped with this reason, for people to read."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class SourceOutputs:
    """One source, read once: its stored outputs `found` of the samples `ids` (N,), all that a metric's inputs are made
    of. `settings` is None where outputs were given by path and there may be no workspace. `folder`: where the outputs
    and what goes with them lie, None where they are no folder; `reference` (N, D'): features of a network trained on
    the target, of the same samples.
    """

    settings: Config | None
    name: str
    ids: "np.ndarray"
    found: "StoredOutputs | None"
    output: str
    folder: Path | None = None
    reference: "np.ndarray | None" = None


@dataclass(frozen=True)
class InputSpec:
    """How an array comes about. `read` gives it or raises Missing; `columns`: those of the source's stored parts that
    it takes. `identity`, of a source: what else it is made from, so that scores become stale with it. `gradients`: it
    is one of the stored gradients, which are extracted only where a metric needs them.
    """

    read: Callable[[SourceOutputs], Any]
    columns: tuple[str, ...] = ()
    identity: Callable[[Config, str], Any] | None = None
    gradients: bool = False


def features(origin: SourceOutputs) -> "np.ndarray":
    """Penultimate features (N, D)."""
    if origin.found is None or origin.found.embedding is None:
        raise MissingInput("no features: it has only outputs")
    return origin.found.embedding


def probs(origin: SourceOutputs) -> "np.ndarray":
    """Probabilities (N, K) of the source's own classes, float64."""
    found = None if origin.found is None else origin.found.probabilities(origin.output)
    if found is None:
        raise MissingInput("no probabilities: it has no head")
    return found


def logits(origin: SourceOutputs) -> "np.ndarray":
    """The source's own outputs (N, K) before softmax or sigmoid."""
    if origin.found is None or origin.found.logits is None:
        raise MissingInput("no logits: it has no head, or only its probabilities are known")
    return origin.found.logits


def reference(origin: SourceOutputs) -> "np.ndarray":
    """Features (N, D') of a network trained on the target."""
    if origin.reference is None:
        raise MissingInput("no --reference: features of a network trained on the task")
    return origin.reference


def source_means(origin: SourceOutputs) -> "np.ndarray":
    """The mean feature of each class that the source was trained on (K, D)."""
    table = _source_classes(origin)
    return to_matrix(table.column("mean"), f"column mean of {schemas.SOURCE_MEANS.file} of {origin.name}")


def source_counts(origin: SourceOutputs) -> "np.ndarray":
    """The number of training images of each of them (K,)."""
    counts: np.ndarray = _source_classes(origin).column("count").to_numpy()
    return counts


def _source_classes(origin: SourceOutputs) -> "pa.Table":
    path = None if origin.folder is None else origin.folder / schemas.SOURCE_MEANS.file
    if path is None or not path.exists():
        raise MissingInput("missing source class means")
    table = files.read_table(path, schemas.SOURCE_MEANS)
    names = table.column("class").to_pylist()
    if len(set(names)) < len(names):
        raise ContractError(f"{path} names a class twice", "one row a class")
    return table


def _source_classes_identity(settings: Config, source: str) -> str | None:
    path = settings.features(source) / schemas.SOURCE_MEANS.file
    return files.digest(path) if path.exists() else None


def gradient(origin: SourceOutputs) -> "np.ndarray":
    """Gradients (N, P) of the source's outputs, whose inner products are summed over the outputs."""
    return _gradients(origin, "gradient")


def gradient_sum(origin: SourceOutputs) -> "np.ndarray":
    """Gradients (N, P) of the sum of the source's outputs."""
    return _gradients(origin, "gradient_sum")


def projected_gradients(origin: SourceOutputs) -> tuple[str, ...]:
    """Which of the two are projected: trace, sum."""
    said = _about_gradients(origin)
    return tuple(
        outputs for outputs, column in (("trace", "gradient"), ("sum", "gradient_sum")) if column in said["projected"]
    )


def _gradients(origin: SourceOutputs, column: str) -> "np.ndarray":
    _about_gradients(origin)
    assert origin.settings is not None
    return gradient_store.load_gradients(origin.settings, origin.name, origin.ids, column)


def _about_gradients(origin: SourceOutputs) -> dict[str, Any]:
    if origin.settings is None:
        raise MissingInput("no gradients: only zoo extract --gradients takes them")
    said = gradient_store.load_gradient_record(origin.settings, origin.name)
    if said is None:
        raise MissingInput("no gradients: it has no head, or only its stored outputs are known")
    return said


REPRESENTATIONS: dict[str, InputSpec] = {
    "features": InputSpec(features, ("embedding",)),
    "probs": InputSpec(probs, ("logits", "probs")),
    "gradients": InputSpec(gradient),
}
"""What --on names, and what lgc reads."""

NEEDS: dict[str, InputSpec] = {
    "logits": InputSpec(logits, ("logits",)),
    "probs": InputSpec(probs, ("logits", "probs")),
    "reference": InputSpec(reference),
    "source_means": InputSpec(source_means, identity=_source_classes_identity),
    "source_counts": InputSpec(source_counts),
    "gradients_sum": InputSpec(gradient_sum, identity=gradient_store.load_gradient_record, gradients=True),
    "projected_gradients": InputSpec(projected_gradients),
}
"""The further arrays of a `Probe`, by their names there. A metric lists those it reads under `needs` in its table."""


def stored_columns(on: Iterable[str], needs: Iterable[str]) -> tuple[str, ...]:
    """The columns of stored outputs that these representations and needs take."""
    taken = [REPRESENTATIONS[name] for name in on] + [NEEDS[name] for name in needs]
    return tuple(dict.fromkeys(column for need in taken for column in need.columns))


def input_digests(settings: Config, needs: Iterable[str], source: str) -> dict[str, Any]:
    """What the needed arrays of a source are made from beyond its stored outputs."""
    return {name: make(settings, source) for name in needs if (make := NEEDS[name].identity) is not None}


def needs_gradients(needs: Iterable[str]) -> bool:
    """Whether one of the needed arrays is made of stored gradients."""
    return any(NEEDS[name].gradients for name in needs)


def load_probe(
    origin: SourceOutputs, target: "Classes", on: str, needs: Iterable[str]
) -> "tuple[Probe, dict[str, str]]":
    """The probe of a source on one representation, and which of the needed arrays are missing, each with its reason.

    Raises Missing where the representation itself is.
    """
    from zoo_cli.metrics.probe import Probe

    further: dict[str, Any] = {}
    missing: dict[str, str] = {}
    inputs = REPRESENTATIONS[on].read(origin)
    for name in needs:
        try:
            further[name] = NEEDS[name].read(origin)
        except MissingInput as absent:
            missing[name] = absent.reason
    return Probe.of(inputs, target, name=origin.name, **further), missing
