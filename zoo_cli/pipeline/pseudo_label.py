"""`zoo pseudo-label`: every source's class probabilities on the task's images, stored once for all students."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa

from zoo_cli import console
from zoo_cli.config import Config, Source
from zoo_cli.errors import UsageError, ZooError
from zoo_cli.pipeline import prepare
from zoo_cli.pipeline.prepare import Needs
from zoo_cli.shards import WHOLE, Shard
from zoo_cli.store import (
    failures,
    feature_files,
    feature_store,
    parquet_files,
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
    shard: Shard = WHOLE,
) -> list[PseudoLabelSummary]:
    """The pseudo-labels of sources, on the labelled and unlabelled images; those without a head are left out.

    `views`: of these stored augmented views of each image; sources with stored outputs only have those of the plain
    view. `shard`: this job's share of the parts. Raises UsageError if none has a head.
    """
    if overwrite and not shard.is_whole:
        raise UsageError(
            "--overwrite and --shard cannot be combined: no job knows when the others are done",
            "--refresh makes stale parts again; to make all of them again, remove their folder first",
        )
    prepare.check_shard(settings, shard, refresh=refresh, features=sources)
    needs = Needs(features=sources, view_features=sources if views else (), views=views)
    images = prepare.prepare(settings, needs, refresh=refresh)
    summaries = make_pseudo_labels(
        settings, images, sources, overwrite=overwrite, refresh=refresh, views=views, shard=shard
    )
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
    shard: Shard = WHOLE,
) -> list[PseudoLabelSummary]:
    """Store the pseudo-labels of sources that are missing, see `pseudo_label`. Raises Stale naming what differs."""
    rows = images.without(failures.failed_ids(settings, "extract")).where(split=SPLITS)
    share = _PartShare(len(rows), shard)
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
        ids, output = images.ids.take(rows[share.rows]), record.output
        loaded: list[Path] = []

        def load(
            features: Path, ids: TextColumn = ids, output: str = output, loaded: list[Path] = loaded
        ) -> _Probabilities:
            loaded.append(features)
            return _Probabilities(OutputReader(features, ("logits",), ids=ids, needed=("logits",)), output)

        root = _root(settings, source, views)
        places = _places(settings, source, views, source_inputs(images, rows, record), share)
        started = time.monotonic()
        swaps.append(_store(root, places, load, overwrite=overwrite, refresh=refresh))
        if len(loaded) == len(places) and shard.is_whole:  # all of them, made now
            stage_log.write_seconds(root, time.monotonic() - started)
        summaries.append(PseudoLabelSummary(source.name, len(ids), record.classes, record.weights_note))
    for swap in swaps:
        swap()
    return summaries


def are_stored(settings: Config, images: Images, sources: Sequence[Source], shard: Shard = WHOLE) -> bool:
    """Whether the pseudo-labels of the plain view are stored of all of these sources that can teach: those of a shard.

    Raises Stale, naming what differs; UsageError where a source has no stored outputs.
    """
    rows = images.without(failures.failed_ids(settings, "extract")).where(split=SPLITS)
    for source in sources:
        record = load_source_record(settings, source.name)
        if not record.can_teach or find_collapsed(settings, [source.name]):
            continue
        inputs = source_inputs(images, rows, record)
        if not all(map(_is_current, _places(settings, source, None, inputs, _PartShare(len(rows), shard)))):
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
    places = [_Place(out, features, inputs, _PartShare(len(outputs)))]
    _store(out, places, lambda _: probs, overwrite=overwrite, refresh=False)()
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
class _PartShare:
    """The parts of `size` rows of pseudo-labels, and which of them are a shard's."""

    size: int
    shard: Shard = WHOLE

    @property
    def names(self) -> list[str]:
        """The file of each part, of all shards."""
        count = max(1, -(-self.size // schemas.ROW_GROUP))
        return [f"part-{part:05}-of-{count:05}.parquet" for part in range(count)]

    @property
    def own(self) -> list[str]:
        """The files of the shard."""
        return [name for position, name in enumerate(self.names) if self.shard.takes(position)]

    def has_all(self, parts: Sequence[Path]) -> bool:
        """Whether the files of the shard are among these."""
        return {part.name for part in parts}.issuperset(self.own)

    @property
    def rows(self) -> np.ndarray:
        """The positions (M,) of the rows of the shard."""
        starts = range(0, self.size, schemas.ROW_GROUP)
        parts = [np.arange(start, min(start + schemas.ROW_GROUP, self.size)) for start in starts]
        own = [part for position, part in enumerate(parts) if self.shard.takes(position)]
        return np.concatenate([np.zeros(0, np.int64), *own])


@dataclass(frozen=True)
class _Place:
    """Where the pseudo-labels of one view are kept, the stored outputs they are made from, their header and parts."""

    folder: Path
    features: Path
    inputs: Inputs
    share: _PartShare

    @property
    def whole(self) -> Self:
        """The same of all shards."""
        return replace(self, share=_PartShare(self.share.size))


def _root(settings: Config, source: Source, views: ViewSet | None) -> Path:
    """The folder of all pseudo-labels of a source, of the plain view or of all stored ones."""
    if views is None or feature_store.is_outputs_only(source):
        return settings.pseudo(source.name)
    return view_store.pseudo_folder(settings, source.name)


def _places(settings: Config, source: Source, views: ViewSet | None, inputs: Inputs, share: _PartShare) -> list[_Place]:
    root = _root(settings, source, views)
    if views is None or feature_store.is_outputs_only(source):
        return [_Place(root, settings.features(source.name), inputs, share)]
    features = view_store.features_folder(settings, source.name)
    return [
        _Place(
            view_store.view_folder(root, view),
            view_store.view_folder(features, view),
            {**inputs, "views": str(views), "view": view},
            share,
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

    The result brings it into its place, once all shards are there. `load`: the probabilities of the stored outputs at a
    path, of the rows of the shard.
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
    is_shared = not all(place.share.shard.is_whole for place in places)
    folders = [place.folder.relative_to(root).as_posix() for place in places]
    new = Replacement.begin(root, identity, folders, is_shared=is_shared)
    beside = [replace(place, folder=new.path(place.folder)) for place in places]
    for place, place_beside in zip(places, beside, strict=True):
        if not new.is_taken and not _is_made(place_beside):
            _write(place, load(place.features), new)

    def swap() -> None:
        if is_shared and not new.is_taken and not all(_is_made(place.whole) for place in beside):
            console.say(f"the new parts of {root} replace the old ones when the other shards have made theirs")
            return
        new.swap(old, remember=overwrite)
        if not all(_is_made(place.whole) for place in places):
            raise ZooError(f"{root}: another process has stored other pseudo-labels", "run the same command again")

    return swap


def _is_current(place: _Place) -> bool:
    """Whether all parts of the shard are there. Raises Stale, naming what differs."""
    replacement.settle(place.folder)
    parts = sorted(place.folder.glob("part-*.parquet"))
    name = str(place.folder)
    current = [
        provenance.is_current(part, place.inputs, overwrite=False, name=name, maker="pseudo-label") for part in parts
    ]
    return all(current) and place.share.has_all(parts)


def _is_made(place: _Place) -> bool:
    """Whether all parts of the shard are there and were made from these inputs."""
    parts = sorted(place.folder.glob("part-*.parquet"))
    return all(provenance.is_made_from(part, place.inputs) for part in parts) and place.share.has_all(parts)


def _write(place: _Place, probs: _Probabilities, new: Replacement | None) -> None:
    """Write parts in float16, enough for a student; the mass that rounding loses is restored when they are read."""
    for part, name in enumerate(place.share.own):
        ids, values = probs.read(slice(part * schemas.ROW_GROUP, (part + 1) * schemas.ROW_GROUP))
        table = pa.table(
            {
                "id": pa.array([str(sample) for sample in ids], pa.string()),
                "probs": to_list_column(values),
            }
        )
        replacement.commit(new, place.folder / name, parquet_files.write_table, table, schemas.PSEUDO, place.inputs)
