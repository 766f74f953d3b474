"""The scores of the replicates of a probe: by a metric's function of all of them at once, else one by one.

A metric is made fast in one place, the functions of many replicates that its entry names. What they compute of the
whole probe for several metrics is kept with its matrix, as `metrics.subsample_sums` does; what follows from labels
alone is kept with the subsamples and label sides, which all sources share. A metric without such functions is a
function of one probe, and is given the sub-probe of every replicate.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli import registry
from zoo_cli.entries import Metric
from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.plain_metrics import accept_probe
from zoo_cli.metrics.probe import Probe
from zoo_cli.metrics.subsamples import Subsamples, score_or_nan
from zoo_cli.specs import Method

Array = NDArray[Any]
Score = Callable[[Probe], float]


@dataclass(frozen=True)
class Scorer:
    """The function of a metric with its parameters, and those of many replicates at once, if its entry names them.

    `on_subsamples` takes a probe and its subsamples, `on_permutations` a probe and label sides; each returns the scores
    (P,), NaN where undefined, or None where it offers nothing for this probe. `advance` is called with
    their number.
    """

    function: Score
    on_subsamples: Callable[[Probe, Subsamples], Array | None] | None = None
    on_permutations: Callable[[Probe, Sequence[Classes]], Array | None] | None = None
    advance: Callable[[int], None] = lambda _: None

    @classmethod
    def of(cls, method: Method, entry: Metric, advance: Callable[[int], None] = lambda _: None) -> "Scorer":
        """That of a method and its entry."""
        return cls(
            partial(accept_probe(method.function), **method.params),
            partial(registry.import_target(entry.on_subsamples), **method.params) if entry.on_subsamples else None,
            partial(registry.import_target(entry.on_permutations), **method.params) if entry.on_permutations else None,
            advance,
        )

    def __call__(self, probe: Probe) -> float:
        try:
            return self.function(probe)
        finally:
            self.advance(1)


def score_subsamples(functions: Sequence[Score], probe: Probe, subsamples: Subsamples) -> Array:
    """The scores of every subsample by each of M functions: (M, H), NaN where undefined."""
    if not functions or subsamples.share == 0:
        return np.full((len(functions), len(subsamples)), np.nan)
    batches = [_score_batch(function, "on_subsamples", probe, subsamples) for function in functions]
    return _complete(functions, batches, (probe.take(*part) for part in subsamples.parts))


def score_permutations(functions: Sequence[Score], probe: Probe, targets: Sequence[Classes]) -> Array:
    """The scores (M, P) under P permuted label sides by each of M functions, NaN where undefined."""
    batches = [_score_batch(function, "on_permutations", probe, targets) for function in functions]
    return _complete(functions, batches, (probe.with_labels(target) for target in targets))


def _score_batch(function: Score, kind: str, probe: Probe, replicates: Subsamples | Sequence[Classes]) -> Array | None:
    batch = getattr(function, kind) if isinstance(function, Scorer) else None
    scores: Array | None = None if batch is None else batch(probe, replicates)
    if scores is not None and isinstance(function, Scorer):
        function.advance(len(replicates))
    return scores


def _complete(functions: Sequence[Score], batches: Sequence[Array | None], probes: Iterable[Probe]) -> Array:
    """All scores (M, P): those of `batches`, and in place of None those of the functions, probe by probe, so that they
    share the products of each."""
    rest = [function for function, scores in zip(functions, batches, strict=True) if scores is None]
    columns = [[score_or_nan(function, probe) for function in rest] for probe in probes] if rest else []
    rows = iter(np.array(columns, dtype=np.float64).T)
    table = [next(rows) if scores is None else scores for scores in batches]
    return np.array(table, dtype=np.float64)
