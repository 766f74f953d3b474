"""The gradients of the probe set that are missing: a check that loads no model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from zoo_cli import console, registry
from zoo_cli.config import Config, Source
from zoo_cli.errors import UsageError
from zoo_cli.pipeline.extract_config import ExtractConfig
from zoo_cli.pipeline.probe_set import probe_rows
from zoo_cli.store import gradient_store
from zoo_cli.store.manifest import Images
from zoo_cli.store.provenance import Stale

RUNNER = "zoo_cli.pipeline.gradient_extraction:extract_gradients"


@dataclass(frozen=True)
class MissingGradients:
    """The rows (M,) of the manifest whose gradients a source lacks; `overwrite`: those that are stored are removed."""

    source: Source
    rows: np.ndarray
    overwrite: bool


def make_gradients(settings: Config, images: Images, sources: Sequence[Source], options: ExtractConfig) -> None:
    """Store the gradients of the probe set that are missing.

    Raises UsageError for a source whose layer cannot be identified, Stale naming what differs.
    """
    rows = probe_rows(settings, images)
    if not len(rows):
        raise UsageError(f"{settings.manifest} has no probe set", "gradients need labelled samples")
    missing = _find_missing(settings, images, sources, rows, options)
    if options.dry_run:
        count = sum(len(item.rows) for item in missing)
        names = ", ".join(item.source.name for item in missing)
        console.say(f"would compute {count:,} gradients of {len(missing)} sources: {names}")
    elif missing:
        registry.import_target(RUNNER)(settings, images, missing, options)


def _find_missing(
    settings: Config, images: Images, sources: Sequence[Source], rows: np.ndarray, options: ExtractConfig
) -> list[MissingGradients]:
    """The gradients of these rows that each source lacks."""
    projection = options.projection or gradient_store.PROJECTION
    pending = []
    for source in sources:
        if reason := gradient_store.unavailable_reason(settings, source):
            console.say(f"{source.name} has no gradients: {reason}")
            continue
        missing, overwrite = rows, options.overwrite
        if not overwrite:
            try:
                missing = gradient_store.missing_rows(settings, source, images, rows, projection)
            except Stale:
                if not options.refresh:
                    raise
                overwrite = True
        if len(missing):
            pending.append(MissingGradients(source, missing, overwrite))
        else:
            console.say(f"the gradients of {source.name} are up to date")
    return pending
