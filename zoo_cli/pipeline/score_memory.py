"""Refuse scores that need more memory than there is, before any of it is used."""

from collections.abc import Iterable

from zoo_cli import registry
from zoo_cli.errors import ZooError
from zoo_cli.free_memory import free_ram
from zoo_cli.metrics.probe import Probe
from zoo_cli.pipeline.metric_specs import MetricSpec

COPIES = 3
"""Arrays of the size of the features in float64, or of the smaller Gram matrix, that any metric needs at once."""
ALWAYS = 64_000_000
"""Bytes that are never refused."""


def check_memory(source: str, metrics: Iterable[MetricSpec], probe: Probe) -> None:
    """Raise ZooError, with the bytes, where a metric needs more memory than is free."""
    count, width = probe.inputs.shape
    least = 8 * COPIES * max(count * width, min(count, width) ** 2)
    # A subsample is a copy of half of the inputs.
    streamed = probe.inputs.nbytes // 2 + 8 * COPIES * width**2
    free: int | None = None
    for spec in metrics:
        own = spec.entry.memory
        needed = streamed if spec.entry.streams and probe.matrix.streamed else least
        needed += registry.import_target(own)(probe, **spec.method.params) if own else 0
        if needed <= ALWAYS:
            continue
        free = free_ram() if free is None else free
        if needed > free:
            raise ZooError(
                f"{spec.method.spec} of {source} needs about {_gigabytes(needed)} of memory for {count:,} samples of "
                f"{width:,} numbers in {len(probe.target.counts):,} classes, and {_gigabytes(free)} are free",
                "score fewer samples or classes, or use a machine with more memory",
            )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"
