"""How far the parts of sources are that several jobs make, none of which knows of the others."""

from collections.abc import Sequence

import numpy as np

from zoo_cli.config import Config, Source
from zoo_cli.store import feature_store, parquet_files, provenance
from zoo_cli.store.feature_store import SourceSummary
from zoo_cli.store.manifest import Images
from zoo_cli.store.replacement import Replacement
from zoo_cli.store.source_record import SourceRecord, has_source_record, load_source_record


def count_images(images: Images) -> int:
    """Of how many images outputs are stored, if none fails."""
    return len(images.where(data="train")) + len(images.where(data="unlabelled"))


def count_parts(settings: Config, sources: Sequence[Source], images: Images) -> tuple[int, int]:
    """How many of the planned parts of sources are stored, and how many there are."""
    planned = [path for source in sources for path, _ in feature_store.planned_parts(settings, source, images)]
    return sum(path.exists() for path in planned), len(planned)


def has_all_parts(settings: Config, source: Source, images: Images) -> bool:
    """Whether a source has a record, and every planned part is stored."""
    stored, planned = count_parts(settings, [source], images)
    return has_source_record(settings, source.name) and stored == planned


def are_all_made(settings: Config, source: Source, images: Images, record: SourceRecord, new: Replacement) -> bool:
    """Whether every planned part of a source is current: in the folder of a replacement, or in its place."""
    made = feature_store.current_parts(settings, source, images, record, new)
    made |= feature_store.current_parts(settings, source, images, record)
    return new.is_taken or made == {path for path, _ in feature_store.planned_parts(settings, source, images)}


def summarize_unfinished(settings: Config, source: Source) -> SourceSummary:
    """What is stored of a source by now, without what holds only for all its parts together."""
    record = load_source_record(settings, source.name)
    folder = settings.features(source.name)
    count = sum(parquet_files.row_count(part) for part in sorted(folder.glob("data=*/part-*.parquet")))
    return SourceSummary(source.name, count, record.features, record.classes, str(folder), note=record.weights_note)


def has_output(settings: Config, source: Source, images: Images, row: int) -> bool:
    """Whether the plain outputs of a row of the manifest are stored."""
    for path, rows in feature_store.planned_parts(settings, source, images):
        if row in rows:
            return (
                path.exists() and images.ids[row] in parquet_files.read_parquet(path, ["id"]).column("id").to_pylist()
            )
    return False


def pending_ids(settings: Config, sources: Sequence[Source], images: Images) -> frozenset[str]:
    """The ids of parts that are not stored of all sources: the shards that make them may have met their failures."""
    rows = [
        rows
        for source in sources
        for path, rows in feature_store.planned_parts(settings, source, images)
        if not path.exists()
    ]
    return frozenset(images.ids[np.unique(np.concatenate(rows))]) if rows else frozenset()


def unexplained_ids(
    settings: Config, sources: Sequence[Source], images: Images, failed: frozenset[str]
) -> frozenset[str]:
    """The ids that current parts of sources lack and that are not recorded as failed.

    Two processes may have recorded their failures at the same time.
    """
    if not feature_store.missing_ids(settings, sources, images) - failed:
        return frozenset()
    current = [source for source in sources if _are_current(settings, source, images)]
    return feature_store.missing_ids(settings, current, images) - failed


def _are_current(settings: Config, source: Source, images: Images) -> bool:
    """Whether the parts that are stored of a source are made of these images under its record."""
    if not has_source_record(settings, source.name):
        return False
    made_from = {"source": load_source_record(settings, source.name).fingerprint}
    return all(
        provenance.is_made_from(path, feature_store.part_inputs(images, rows, made_from))
        for path, rows in feature_store.planned_parts(settings, source, images)
        if path.exists()
    )
