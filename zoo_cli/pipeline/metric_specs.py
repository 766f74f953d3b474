"""Metric specs, parsed, and the scores to compute with them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo_cli import specs
from zoo_cli.config import Source
from zoo_cli.entries import Metric
from zoo_cli.errors import UsageError
from zoo_cli.registry import METRICS
from zoo_cli.specs import Method


@dataclass(frozen=True)
class MetricSpec:
    """A resolved metric and the representation that it reads."""

    method: Method
    on: str

    @property
    def entry(self) -> Metric:
        """The metric in the registry."""
        return METRICS[self.method.name]

    @property
    def slug(self) -> str:
        """The spec as a part of a file name, with the representation unless it is the metric's own."""
        text = self.method.spec.replace(":", "-").replace(",", "-").replace("=", "")
        return text if self.on == self.entry.on[0] else f"{text}-{self.on}"


@dataclass(frozen=True)
class ScoreConfig:
    """The scores to compute. The student's starting features are always scored too.

    `seed`: of the replicates, None for the task's. `strict`: False leaves out a metric whose inputs no source has.
    `reference`: stored features of a network trained on the task. `out`: one file for all scores, instead of scores/.
    `features`: stored outputs by path, in place of the sources of a workspace, with their own labels or those of the
    probe set of `manifest`.
    """

    specs: tuple[MetricSpec, ...]
    sources: tuple[Source, ...] = ()
    features: tuple[Path, ...] = ()
    manifest: Path | None = None
    seed: int | None = None
    strict: bool = True
    reference: Path | None = None
    out: Path | None = None
    overwrite: bool = False
    refresh: bool = False


def parse_metric(text: str, on: str | None, *, strict: bool = True) -> MetricSpec:
    """The metric of a spec, on a representation: features, probs, or None for its own.

    If not `strict`, a metric that cannot read it uses its own representation. Raises UsageError.
    """
    method = specs.resolve("metric", text)
    accepted = METRICS[method.name].on
    if on is not None and on not in ("features", "probs"):
        raise UsageError(f'no representation "{on}"', "expected features or probs")
    if on is not None and on not in accepted and strict:
        raise UsageError(f"{method.name} reads {' or '.join(accepted)}, not {on}", f"drop --on {on}")
    return MetricSpec(method, on if on in accepted else accepted[0])


def parse_metrics(texts: Sequence[str], on: str | None) -> tuple[MetricSpec, ...]:
    """The metrics of specs, one per text or separated by commas. Raises UsageError for a repeated one."""
    parts = [spec for text in texts for spec in split_specs(text)]
    if len(set(parts)) < len(parts):
        raise UsageError("a metric is named twice", "name each once")
    return tuple(parse_metric(spec, on, strict=len(parts) == 1) for spec in parts)


def split_specs(text: str) -> list[str]:
    """Split `parc:pca=32,cosine=true,lfc` into specs: a piece `key=value` belongs to the spec before it."""
    parts: list[str] = []
    for piece in text.split(","):
        if parts and "=" in piece and ":" not in piece.partition("=")[0]:
            parts[-1] += f",{piece}"
        else:
            parts.append(piece.strip())
    return parts


def needed_inputs(metrics: Iterable[MetricSpec]) -> tuple[str, ...]:
    """The further arrays that metrics read, each once."""
    return tuple(dict.fromkeys(need for spec in metrics for need in spec.entry.needs))
