"""Functions of plain arrays, stored features and predictions, without a workspace."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zoo_cli import registry
from zoo_cli.api.silence import silent
from zoo_cli.errors import Undefined, UsageError
from zoo_cli.metrics.probe import Probe
from zoo_cli.pipeline.evaluate.flips import FlipsConfig, FlipsResult, compare_flips
from zoo_cli.pipeline.metric_specs import parse_metric
from zoo_cli.ranking import uncertainty
from zoo_cli.store import feature_files

Array = NDArray[Any]
PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class ArrayScore:
    """A score of arrays, higher is better. NaN where it is undefined, and `reason` then says why, machine readable.

    `low`, `high`: its 90 % interval; `chance`: its mean under permuted labels.
    """

    value: float
    low: float
    high: float
    chance: float
    reason: str | None = None


@silent
def score(X: ArrayLike, y: ArrayLike, metric: str = registry.DEFAULT_METRIC, *, seed: int = 0) -> ArrayScore:
    """How well embeddings fit labels. They may come from any model or program: zoo need not have made them.

    X: (N, D) features, or (N, K) probabilities for a metric that reads only those, e.g. leep. y: (N,) class names or
    integers. `metric`: NAME or NAME:key=value. `seed`: of the subsamples and permutations behind the interval.

    Raises UsageError for an unknown metric, and one that needs more than X and y; ContractError for arrays of other
    shapes, values that are not finite, and labels that are no classes.
    """
    spec = parse_metric(metric, None)
    if spec.entry.needs:
        needs = ", ".join(spec.entry.needs)
        raise UsageError(f"{spec.method.name} reads more than X and y: {needs}", "score it in a Workspace")
    labels = np.asarray(y)
    if labels.ndim == 1 and labels.dtype.kind in "OSUb":
        labels = np.unique(labels.astype(str), return_inverse=True)[1]
    probe = Probe.of(np.asarray(X), labels)
    (estimate,) = uncertainty.estimate_scores([(spec.method, spec.entry)], probe, seed=seed)
    if isinstance(estimate, Undefined):
        return ArrayScore(np.nan, np.nan, np.nan, np.nan, estimate.reason)
    low, high, chance = (np.nan if end is None else end for end in (estimate.low, estimate.high, estimate.chance))
    return ArrayScore(estimate.value, low, high, chance, estimate.reason)


@silent
def features(path: PathLike) -> tuple[Array, Array]:
    """Stored features: ids (N,) of str and the array (N, D), in the order in which they are stored.

    `path`: a folder such as features/source=NAME, or any parquet file with `id` and `embedding`. Raises UsageError if
    nothing is there, ContractError for repeated ids, values that are not finite, or no `embedding`.
    """
    outputs = feature_files.load_outputs(Path(path), columns=("embedding",), needed=("embedding",))
    assert outputs.embedding is not None, "it is needed"
    return outputs.ids, outputs.embedding


@silent
def flips(before: PathLike, after: PathLike, teacher: PathLike | None = None) -> FlipsResult:
    """What `after` has right and `before` had wrong, and the reverse: `statistics` in all, `classes` one by one.

    Each is a run folder or a parquet file of predictions, of the same samples. `teacher`: predictions that `after` may
    have learned from. Raises UsageError if nothing is there, ContractError for other samples, labels or classes.
    """
    paths = [Path(path) for path in (before, after, *([] if teacher is None else [teacher]))]
    for path in paths:
        if not path.exists():
            raise UsageError(f"no predictions at {path}", "expected a run folder or a parquet file")
    reference = None if teacher is None else str(teacher)
    return compare_flips(FlipsConfig(Path(), str(before), str(after), reference))
