"""How sources are ranked and weighed, parsed from the specs of a command."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zoo_cli import registry, specs
from zoo_cli.errors import UsageError
from zoo_cli.pipeline.metric_specs import MetricSpec, parse_metrics


@dataclass(frozen=True)
class RankingSpec:
    """How to rank: by one metric, or several by their mean z-score; with the capacity term; the weighting.

    `min_weight`: smaller weights are dropped, the rest is renormalised.
    """

    metrics: tuple[MetricSpec, ...]
    weighting: specs.WeightingSpec
    plasticity: bool = False
    min_weight: float = registry.DEFAULT_MIN_WEIGHT

    @property
    def metric(self) -> str:
        """The specs of the metrics, as in the files."""
        text = ",".join(spec.method.spec for spec in self.metrics)
        return f"{text}+plasticity" if self.plasticity else text

    @property
    def slug(self) -> str:
        """The metrics as a part of a file name."""
        text = "+".join(spec.slug for spec in self.metrics)
        return f"{text}+plasticity" if self.plasticity else text

    @property
    def representation(self) -> str:
        """The representation that the metrics read."""
        return self.metrics[0].on

    def as_asked(self, sources: Sequence[str] = ()) -> dict[str, Any]:
        """The ranking as run.json holds what was asked. `sources`: those that were chosen; empty: all."""
        asked = {"weighting": self.weighting.text, "metric": self.metric, "on": self.representation}
        return {**asked, "min_weight": self.min_weight, **({"sources": list(sources)} if sources else {})}

    @property
    def raw(self) -> bool:
        """Whether the value is a metric's own score."""
        return len(self.metrics) == 1 and not self.plasticity

    @property
    def margin(self) -> float:
        """The smallest gap between two values that matters."""
        return self.metrics[0].entry.margin if self.raw else 0.0

    @property
    def zero_means_none(self) -> bool:
        """Whether negative values mean no similarity. z-scores are centred: their zero means nothing."""
        return self.raw and self.metrics[0].entry.zero_means_none


def parse_ranking(
    metrics: Sequence[str],
    on: str | None,
    weighting: str,
    plasticity: bool = False,
    min_weight: float = registry.DEFAULT_MIN_WEIGHT,
) -> RankingSpec:
    """Parse --metric, --on and --weighting. `metrics`: one per text or separated by commas."""
    parsed = parse_metrics(metrics, on)
    if len({spec.on for spec in parsed}) > 1:
        reads = ", ".join(f"{spec.method.name} reads {spec.on}" for spec in parsed)
        raise UsageError(f"one ranking uses one representation: {reads}", "use --on probs if all of them read it")
    return RankingSpec(parsed, specs.WeightingSpec.parse(weighting), plasticity, min_weight)
