"""Metric specs, parsed, and the scores to compute with them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from zoo_cli import specs
from zoo_cli.config import Source
from zoo_cli.entries import Metric
from zoo_cli.errors import ParameterError, UsageError
from zoo_cli.registry import METRICS
from zoo_cli.specs import Method

SIZE_SUFFIX = "-per-class"
WHOLE = "all"

INTERVALS = ("full", "none")
"""How `zoo score` computes them."""


@dataclass(frozen=True)
class MetricSpec:
    """A resolved metric and the representation that it reads.

    `per_class`: it is computed on at most so many images of each class; None: on the whole probe set.
    """

    method: Method
    on: str
    per_class: int | None = None

    @property
    def entry(self) -> Metric:
        """The metric in the registry."""
        return METRICS[self.method.name]

    @property
    def slug(self) -> str:
        """The spec as a part of a file name, with the representation unless it is the metric's own, and its size."""
        text = self.method.spec.replace(":", "-").replace(",", "-").replace("=", "")
        on = "" if self.on == self.entry.on[0] else f"-{self.on}"
        return f"{text}{on}" + ("" if self.per_class is None else f"-{self.per_class}{SIZE_SUFFIX}")

    @property
    def command(self) -> str:
        """The command that computes it."""
        size = "" if self.per_class is None else f" --probe-per-class {self.per_class}"
        return f"score --metric {self.method.spec}{size}"


@dataclass(frozen=True)
class ScoreConfig:
    """The scores to compute. The student's starting features are always scored too.

    `seed`: of the replicates, None for the task's. `strict`: False leaves out a metric whose inputs no source has.
    `reference`: stored features of a network trained on the task. `out`: one file for all scores, instead of scores/.
    `features`: stored outputs by path, in place of the sources of a workspace, with their own labels or those of the
    probe set of `manifest`. `specs` may be of several sizes of the probe set. Without `intervals` only values are
    computed, and stored scores with intervals serve too.
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
    intervals: bool = True

    def by_size(self) -> list[Self]:
        """The same scores, in parts that are each of one size of the probe set."""
        sizes = dict.fromkeys(spec.per_class for spec in self.specs)
        return [replace(self, specs=tuple(spec for spec in self.specs if spec.per_class == size)) for size in sizes]


def parse_intervals(text: str) -> bool:
    """Whether scores have intervals, from full or none. Raises UsageError."""
    if text not in INTERVALS:
        raise specs.nearest("intervals", text, INTERVALS)
    return text == INTERVALS[0]


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


def parse_sizes(texts: Sequence[str]) -> tuple[int | None, ...]:
    """Sizes of the probe set as `MetricSpec.per_class` has them, each once: "5" images a class, or "all".

    Raises UsageError.
    """
    sizes: list[int | None] = []
    for text in texts:
        if text != WHOLE and not (text.isascii() and text.isdigit() and int(text) > 0):
            raise UsageError(f"--probe-per-class {text}", f"give a number of images from 1 up, or {WHOLE}")
        sizes.append(None if text == WHOLE else int(text))
    return tuple(dict.fromkeys(sizes))


def size_metrics(metrics: Iterable[MetricSpec], sizes: Sequence[int | None]) -> tuple[MetricSpec, ...]:
    """Every metric on every size of the probe set.

    Raises ParameterError for a size below 1, UsageError for one image a class where a metric compares two.
    """
    if any(size is not None and size < 1 for size in sizes):
        raise ParameterError("`probe_per_class` is below 1", "give a number of images from 1 up")
    sized = tuple(replace(spec, per_class=size) for spec in metrics for size in sizes)
    needy = dict.fromkeys(spec.method.spec for spec in sized if spec.entry.pairs and spec.per_class == 1)
    if needy:
        several = len(needy) > 1
        raise UsageError(
            f"--probe-per-class 1: {', '.join(needy)} {'compare' if several else 'compares'} images of one class",
            "give at least 2, or name other metrics with --metric",
        )
    return sized


def needed_inputs(metrics: Iterable[MetricSpec]) -> tuple[str, ...]:
    """The further arrays that metrics read, each once."""
    return tuple(dict.fromkeys(need for spec in metrics for need in spec.entry.needs))
