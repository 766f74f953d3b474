"""Stored augmented views of a workspace: which there are, and where the outputs of each are kept.

They lie beside the plain outputs, not among them: readers of `features/source=S` and `pseudo/source=S` see the plain
view alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.errors import ContractError, UsageError, ZooError
from zoo_cli.store import feature_store, files, parquet_files, provenance, replacement
from zoo_cli.store.manifest import Images
from zoo_cli.store.provenance import Inputs
from zoo_cli.store.records import build_record
from zoo_cli.store.replacement import Replacement
from zoo_cli.store.source_record import has_source_record, load_source_record
from zoo_cli.store.text_column import TextColumn
from zoo_cli.store.view_set import ViewSet

DOCUMENT = "_views.json"


@dataclass(frozen=True)
class _Document:
    """The content of _views.json."""

    views: int
    augment: str
    seed: int


@dataclass(frozen=True)
class ViewPart:
    """The parts of one range of images: rows (M,) of the manifest, and the path of each view's part, V in all."""

    rows: np.ndarray
    paths: tuple[Path, ...]


def views_folder(settings: Config) -> Path:
    """The outputs of all sources on all views, and which views these are."""
    return settings.root / "features" / "views"


def features_folder(settings: Config, source: str) -> Path:
    """The outputs of a source on all views, a folder `view=v` each."""
    return views_folder(settings) / f"source={source}"


def pseudo_folder(settings: Config, source: str) -> Path:
    """The pseudo-labels of a source on all views, a folder `view=v` each."""
    return settings.root / "pseudo" / "views" / f"source={source}"


def answers_folder(settings: Config, slug: str) -> Path:
    """The answers of a pool of heads on all views, a folder `view=v` each, and their record."""
    return settings.labels_root / "pseudo" / "views" / f"head={slug}"


def view_folder(folder: Path, view: int) -> Path:
    """What belongs to one view, counted from 0."""
    return folder / f"view={view}"


def load_view_set(settings: Config) -> ViewSet | None:
    """The stored views of a workspace, None if there are none. Raises ContractError for a damaged document."""
    path = views_folder(settings) / DOCUMENT
    replacement.settle(path.parent)
    if not path.exists():
        return None
    again = "zoo extract --views N --overwrite makes it"
    document = build_record(_Document, files.read_json(path), path, again)
    try:
        return ViewSet(document.views, document.augment, document.seed)
    except UsageError as error:
        raise ContractError(f"{path}: {error.message}", again) from None


def write_view_set(settings: Config, views: ViewSet) -> None:
    """Record which views a workspace stores."""
    files.write_sealed_json(views_folder(settings) / DOCUMENT, _to_json(views))


def check_view_set(settings: Config, views: ViewSet) -> bool:
    """Whether these views are the stored ones; False if none are stored. Raises Stale if others are."""
    stored = load_view_set(settings)
    if stored is not None and stored != views:
        changed = provenance.differences(_to_json(stored), _to_json(views))
        raise provenance.stale_error(str(views_folder(settings)), changed, views.command)
    return stored is not None


def _to_json(views: ViewSet) -> dict[str, Any]:
    return {"views": views.count, "augment": views.augment, "seed": views.seed}


def planned_parts(settings: Config, source: Source, images: Images, views: ViewSet) -> Iterator[ViewPart]:
    """The parts a source should have of its views, for the images of which it has plain outputs.

    All views of a range of images are made together, from one decoding: the range is so short that they take the memory
    of one plain part.
    """
    step = max(1, feature_store.PART_ROWS // views.count)
    folder = features_folder(settings, source.name)
    for data in ("train",) if source.name == STUDENT else ("train", "unlabelled"):
        rows = images.where(data=data)
        count = -(-len(rows) // step)
        for part in range(count):
            name = f"part-{part:05}-of-{count:05}.parquet"
            paths = (view_folder(folder, view) / f"data={data}" / name for view in range(views.count))
            yield ViewPart(rows[part * step : (part + 1) * step], tuple(paths))


def made_from(fingerprint: str, views: ViewSet, view: int) -> Inputs:
    """What the part of one view is made from, beside its images. `fingerprint`: of the source's record."""
    return {"source": fingerprint, "views": str(views), "view": view}


def missing_parts(settings: Config, source: Source, images: Images, views: ViewSet, *, remake: bool) -> list[ViewPart]:
    """The planned parts of which a view is missing, of a source whose plain outputs are stored.

    `remake`: also those made from other inputs; without it, they raise Stale, naming what differs.
    """
    planned = list(planned_parts(settings, source, images, views))
    if not has_source_record(settings, source.name):
        return planned
    fingerprint = load_source_record(settings, source.name).fingerprint
    maker = f"{views.command} --source {source.name}"
    extra = existing_parts(settings, source.name) - {path for part in planned for path in part.paths}
    if extra:
        if not remake:
            raise provenance.stale_error(str(min(extra)), ["images"], maker)
        return planned
    missing = []
    for part in planned:
        current = True
        for view, path in enumerate(part.paths):
            inputs = feature_store.part_inputs(images, part.rows, made_from(fingerprint, views, view))
            if remake:
                current &= provenance.is_made_from(path, inputs)
            else:
                current &= provenance.is_current(path, inputs, overwrite=False, maker=maker)
        if not current:
            missing.append(part)
    return missing


def are_stale(settings: Config, sources: Sequence[Source], images: Images, views: ViewSet) -> bool:
    """Whether parts of views of sources are stored that were made otherwise: more than that some are missing."""
    for source in sources:
        existing = existing_parts(settings, source.name)
        if not existing:
            continue
        fingerprint = load_source_record(settings, source.name).fingerprint
        for part in planned_parts(settings, source, images, views):
            for view, path in enumerate(part.paths):
                inputs = feature_store.part_inputs(images, part.rows, made_from(fingerprint, views, view))
                if path in existing and provenance.is_made_from(path, inputs):
                    existing.discard(path)
        if existing:
            return True
    return False


def begin_replacement(
    settings: Config, sources: Sequence[Source], views: ViewSet, *, is_shared: bool = False
) -> Replacement:
    """Begin the outputs of sources on views beside those that are stored, or go on with unfinished ones."""
    folders = [
        f"source={source.name}/view={view}/data={data}"
        for source in sources
        for view in range(views.count)
        for data in ("train", "unlabelled")
    ]
    identity = replacement_identity(settings, sources, views)
    new = Replacement.begin(views_folder(settings), identity, folders, is_shared=is_shared)
    new.write(lambda: files.write_sealed_json(new.new / DOCUMENT, _to_json(views)))
    return new


def replacement_identity(settings: Config, sources: Sequence[Source], views: ViewSet) -> str:
    """A digest of what the outputs of these sources on views depend on, beside the images."""
    made_by = {source.name: load_source_record(settings, source.name).fingerprint for source in sources}
    return provenance.fingerprint(_to_json(views), made_by)


def unfinished_parts(
    settings: Config, pending: Mapping[str, Sequence[ViewPart]], images: Images, views: ViewSet, new: Replacement
) -> dict[str, list[ViewPart]]:
    """Those of the parts of each source of which a view is missing in the folder of a replacement."""

    def find_current() -> set[Path]:
        current = set()
        for name, parts in pending.items():
            fingerprint = load_source_record(settings, name).fingerprint
            for part in parts:
                for view, path in enumerate(part.paths):
                    inputs = feature_store.part_inputs(images, part.rows, made_from(fingerprint, views, view))
                    if provenance.is_made_from(new.path(path), inputs):
                        current.add(path)
        return current

    current = new.keep(find_current)
    return {name: [part for part in parts if not current.issuperset(part.paths)] for name, parts in pending.items()}


def replace_outputs(
    settings: Config, sources: Sequence[Source], images: Images, views: ViewSet, new: Replacement, *, remember: bool
) -> None:
    """Bring the complete new outputs of sources on views into their place; old parts that are not planned go.

    Raises ZooError if parts are missing, because another process has replaced the outputs by others.
    """
    obsolete: set[Path] = set()
    for source in sources:
        planned = {path for part in planned_parts(settings, source, images, views) for path in part.paths}
        obsolete |= existing_parts(settings, source.name) - planned
    new.swap([path.relative_to(new.place).as_posix() for path in obsolete], remember=remember)
    if not is_current(settings, sources, images, views):
        raise ZooError(f"{new.place}: another process has stored other views", "run the same command again")


def is_current(settings: Config, sources: Sequence[Source], images: Images, views: ViewSet) -> bool:
    """Whether these views are stored, of all these sources."""
    return load_view_set(settings) == views and not any(
        missing_parts(settings, source, images, views, remake=True) for source in sources
    )


def missing_ids(settings: Config, sources: Sequence[Source], images: Images) -> frozenset[str]:
    """The ids that are missing from stored parts of views, because their images failed."""
    missing: set[str] = set()
    with suppress(ContractError):  # damaged views are made again
        views = load_view_set(settings)
        parts = [part for source in sources if views for part in planned_parts(settings, source, images, views)]
        for part in parts:
            path = part.paths[0]  # all views of an image are stored, or none
            if path.exists() and parquet_files.row_count(path) < len(part.rows):
                stored = TextColumn.of(parquet_files.read_parquet(path, ["id"]).column("id"))
                planned = images.ids.take(part.rows)
                missing.update(planned[~planned.isin(stored)])
    return frozenset(missing)


def existing_parts(settings: Config, source: str) -> set[Path]:
    """The stored parts of all views of a source."""
    replacement.settle(views_folder(settings))
    return set(features_folder(settings, source).glob("view=*/data=*/part-*.parquet"))
