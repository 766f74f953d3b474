"""`zoo pseudo-label`: every source's class probabilities on the task's images, stored once for all students."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from zoo_cli import console
from zoo_cli.config import Config, Source
from zoo_cli.errors import UsageError, ZooError
from zoo_cli.pipeline import prepare
from zoo_cli.pipeline.prepare import Needs
from zoo_cli.store import (
    failures,
    feature_files,
    feature_store,
    files,
    provenance,
    replacement,
    schemas,
    stage_log,
    view_store,
)
from zoo_cli.store.columns import to_list_column
from zoo_cli.store.manifest import Images
from zoo_cli.store.output_reader import OutputReader
from zoo_cli.store.output_summary import find_collapsed
from zoo_cli.store.provenance import Inputs, Stale
from zoo_cli.store.replacement import Replacement
from zoo_cli.store.source_record import SourceRecord, load_source_record
from zoo_cli.store.text_column import TextColumn
from zoo_cli.store.view_set import ViewSet

SPLITS = ("labelled", "unlabelled")
STEP = 512
"""Rows whose probabilities are float64 at a time."""


@dataclass(frozen=True)
class PseudoLabelSummary:
    """What is stored of a source: the number of images and of its classes; a note on its weights."""

    source: str
    images: int
    classes: int
    note: str = ""


def pseudo_label(
    settings: Config,
    sources: Sequence[Source],
    *,
    overwrite: bool = False,
    refresh: bool = False,
    views: ViewSet | None = None,
) -> list[PseudoLabelSummary]:
    """The pseudo-labels of sources, on the labelled and unlabelled images; those without a head are left out.

    `views`: of these stored augmented views of each image; sources with stored outputs only have those of the plain
    view. Raises UsageError if none has a head.
    """
    needs = Needs(features=sources, view_features=sources if views else (), views=views)
    images = prepare.prepare(settings, needs, refresh=refresh)
    summaries = make_pseudo_labels(settings, images, sources, overwrite=overwrite, refresh=refresh, views=views)
    if overwrite:
        replacement.forget(_root(settings, source, views) for source in sources)
    if not summaries:
        raise UsageError(
            "no source has a head that can teach",
            "zoo pseudo-label --head ridge fits heads on their features",
        )
    return summaries


def make_pseudo_labels(
    settings: Config,
    images: Images,
    sources: Sequence[Source],
    *,
    overwrite: bool = False,
    refresh: bool = False,
    views: ViewSet | None = None,
) -> list[PseudoLabelSummary]:
    """Store the pseudo-labels of sources that are missing, see `pseudo_label`. Raises Stale naming what differs."""
    rows = images.without(failures.failed_ids(settings, "extract")).where(split=SPLITS)
    summaries, swaps = [], []
    for source in sources:
        record = load_source_record(settings, source.name)
        if not record.can_teach:
            head = "a softmax head of one class" if record.classes else "no head"
            console.say(f"{source.name} has {head}: no pseudo-labels of it")
            continue
        if find_collapsed(settings, [source.name]):
            console.say(f"{source.name} is collapsed, it answers every image alike: no pseudo-labels of it")
            continue
        ids, output = images.ids.take(rows), record.output
        loaded: list[Path] = []

        def load(
            features: Path, ids: TextColumn = ids, output: str = output, loaded: list[Path] = loaded
        ) -> _Probabilities:
            loaded.append(features)
            return _Probabilities(OutputReader(features, ("logits",), ids=ids, needed=("logits",)), output)

        root = _root(settings, source, views)
        places = _places(settings, source, views, source_inputs(images, rows, record))
        started = time.monotonic()
        swaps.append(_store(root, places, load, overwrite=overwrite, refresh=refresh))
        if len(loaded) == len(places):  # all of them, made now
            stage_log.write_seconds(root, time.monotonic() - started)
        summaries.append(PseudoLabelSummary(source.name, len(rows), record.classes, record.weights_note))
    for swap in swaps:
        swap()
    return summaries


def are_stored(settings: Config, images: Images, sources: Sequence[Source]) -> bool:
    """Whether the pseudo-labels of the plain view are stored of all of these sources that can teach.

    Raises Stale, naming what differs; UsageError where a source has no stored outputs.
    """
    rows = images.without(failures.failed_ids(settings, "extract")).where(split=SPLITS)
    for source in sources:
        record = load_source_record(settings, source.name)
        if not record.can_teach or find_collapsed(settings, [source.name]):
            continue
        inputs = source_inputs(images, rows, record)
        if not all(map(_is_current, _places(settings, source, None, inputs))):
            return False
    return True


def pseudo_label_file(features: Path, out: Path, output: str, *, overwrite: bool = False) -> PseudoLabelSummary:
    """The pseudo-labels of stored outputs given by path. `output`: what its logits are for, softmax or sigmoid."""
    if output not in ("softmax", "sigmoid"):
        raise UsageError(f'--output "{output}"', "softmax or sigmoid")
    inputs = {"source": feature_files.content_digest(features), "output": output}
    outputs = OutputReader(features, ("logits", "probs"), output=output)
    if not outputs.columns:
        raise UsageError(f"{features} has neither logits nor probs", "a source without a head has no pseudo-labels")
    if not len(outputs):
        raise UsageError(f"{features} has no rows")
    probs = _Probabilities(outputs, output)
    _store(out, [_Place(out, features, inputs)], lambda _: probs, overwrite=overwrite, refresh=False)()
    return PseudoLabelSummary(out.name.removeprefix("source="), len(outputs), outputs.width(outputs.columns[0]))


@dataclass(frozen=True)
class _Probabilities:
    """The class probabilities of stored outputs, read a part at a time. `output`: what the logits are for."""

    outputs: OutputReader
    output: str

    def read(self, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """The ids (M,) and probabilities (M, K), float16, of a range of rows."""
        stored = self.outputs.read(rows)
        pieces = []
        for start in range(0, max(1, len(stored.ids)), STEP):
            probs = stored.take(slice(start, start + STEP)).probabilities(self.output)
            assert probs is not None
            pieces.append(probs.astype(np.float16))
        return stored.ids, np.concatenate(pieces)


@dataclass(frozen=True)
class _Place:
    """Where the pseudo-labels of one view are kept, the stored outputs they are made from, and their header."""

    folder: Path
    features: Path
    inputs: Inputs


def _root(settings: Config, source: Source, views: ViewSet | None) -> Path:
    """The folder of all pseudo-labels of a source, of the plain view or of all stored ones."""
    if views is None or feature_store.is_outputs_only(source):
        return settings.pseudo(source.name)
    return view_store.pseudo_folder(settings, source.name)


def _places(settings: Config, source: Source, views: ViewSet | None, inputs: Inputs) -> list[_Place]:
    root = _root(settings, source, views)
    if views is None or feature_store.is_outputs_only(source):
        return [_Place(root, settings.features(source.name), inputs)]
    features = view_store.features_folder(settings, source.name)
    return [
        _Place(
            view_store.view_folder(root, view),
            view_store.view_folder(features, view),
            {**inputs, "views": str(views), "view": view},
        )
        for view in range(views.count)
    ]


def source_inputs(images: Images, rows: np.ndarray, record: SourceRecord) -> Inputs:
    """What the pseudo-labels of a source on these rows (M,) are made from."""
    samples = images.fingerprint(rows, "ids", "sha256")
    return {"source": record.fingerprint, "samples": samples, "output": record.output}


def _store(
    root: Path,
    places: Sequence[_Place],
    load: Callable[[Path], _Probabilities],
    *,
    overwrite: bool,
    refresh: bool,
) -> Callable[[], None]:
    """Write what is missing below `root`; what replaces older pseudo-labels is made beside them.

    The result brings it into its place. `load`: the probabilities of the stored outputs at a path.
    """
    identity = provenance.fingerprint([place.inputs for place in places])
    remake = overwrite and not (replacement.is_done(root, identity) and all(map(_is_made, places)))
    missing = list(places)
    if not remake:
        try:
            missing = [place for place in places if not _is_current(place)]
        except Stale:
            if not refresh:
                raise
            remake = True
    old = [path.relative_to(root).as_posix() for path in replacement.parts_below(root)]
    if not remake or not old:
        for place in missing:
            _write(place, load(place.features), None)
        return lambda: None
    new = Replacement.begin(root, identity, [place.folder.relative_to(root).as_posix() for place in places])
    for place in places:
        if not new.is_taken and not _is_made(replace(place, folder=new.path(place.folder))):
            _write(place, load(place.features), new)

    def swap() -> None:
        new.swap(old, remember=overwrite)
        if not all(map(_is_made, places)):
            raise ZooError(f"{root}: another process has stored other pseudo-labels", "run the same command again")

    return swap


def _is_current(place: _Place) -> bool:
    """Whether all parts are there. Raises Stale, naming what differs."""
    replacement.settle(place.folder)
    parts = sorted(place.folder.glob("part-*.parquet"))
    name = str(place.folder)
    current = [
        provenance.is_current(part, place.inputs, overwrite=False, name=name, maker="pseudo-label") for part in parts
    ]
    return all(current) and _are_all(parts)


def _is_made(place: _Place) -> bool:
    """Whether all parts are there and were made from these inputs."""
    parts = sorted(place.folder.glob("part-*.parquet"))
    return all(provenance.is_made_from(part, place.inputs) for part in parts) and _are_all(parts)


def _are_all(parts: Sequence[Path]) -> bool:
    return bool(parts) and len(parts) == int(parts[0].stem.rpartition("-")[2])


def _write(place: _Place, probs: _Probabilities, new: Replacement | None) -> None:
    """Write parts in float16, enough for a student; the mass that rounding loses is restored when they are read."""
    total = len(probs.outputs)
    count = max(1, -(-total // schemas.ROW_GROUP))
    for part in range(count):
        ids, values = probs.read(slice(part * schemas.ROW_GROUP, (part + 1) * schemas.ROW_GROUP))
        table = pa.table(
            {
                "id": pa.array([str(name) for name in ids], pa.string()),
                "probs": to_list_column(values),
            }
        )
        path = place.folder / f"part-{part:05}-of-{count:05}.parquet"
        replacement.commit(new, path, files.write_table, table, schemas.PSEUDO, place.inputs)
