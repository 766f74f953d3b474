"""`zoo pseudo-label`: every source's class probabilities on the task's images, stored once for all students."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from zoo_cli import console
from zoo_cli.config import Config, Source
from zoo_cli.errors import UsageError
from zoo_cli.pipeline import prepare
from zoo_cli.pipeline.prepare import Needs
from zoo_cli.store import failures, feature_files, feature_store, files, provenance, schemas, view_store
from zoo_cli.store.columns import to_list_column
from zoo_cli.store.manifest import Images
from zoo_cli.store.output_summary import find_collapsed
from zoo_cli.store.provenance import Inputs, Stale
from zoo_cli.store.source_record import SourceRecord, load_source_record
from zoo_cli.store.view_set import ViewSet

SPLITS = ("labelled", "unlabelled")


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
    summaries = []
    for source in sources:
        record = load_source_record(settings, source.name)
        if not record.can_teach:
            head = "a softmax head of one class" if record.classes else "no head"
            console.say(f"{source.name} has {head}: no pseudo-labels of it")
            continue
        if find_collapsed(settings, [source.name]):
            console.say(f"{source.name} is collapsed, it answers every image alike: no pseudo-labels of it")
            continue
        inputs = source_inputs(images, rows, record)
        for place in _places(settings, source, views):
            made_from = {**inputs, **place.inputs}
            if not _is_current(place.folder, made_from, overwrite, refresh):
                outputs = feature_files.load_outputs(
                    place.features, ids=images.ids[rows], columns=("logits",), needed=("logits",)
                )
                probs = outputs.probabilities(record.output)
                assert probs is not None
                _write(place.folder, outputs.ids, probs, made_from)
        summaries.append(PseudoLabelSummary(source.name, len(rows), record.classes, record.weights_note))
    return summaries


def pseudo_label_file(features: Path, out: Path, output: str, *, overwrite: bool = False) -> PseudoLabelSummary:
    """The pseudo-labels of stored outputs given by path. `output`: what its logits are for, softmax or sigmoid."""
    if output not in ("softmax", "sigmoid"):
        raise UsageError(f'--output "{output}"', "softmax or sigmoid")
    inputs = {"source": feature_files.content_digest(features), "output": output}
    outputs = feature_files.load_outputs(features, columns=("logits", "probs"), output=output)
    probs = outputs.probabilities(output)
    if probs is None:
        raise UsageError(f"{features} has neither logits nor probs", "a source without a head has no pseudo-labels")
    if not len(probs):
        raise UsageError(f"{features} has no rows")
    if not _is_current(out, inputs, overwrite, refresh=False):
        _write(out, outputs.ids, probs, inputs)
    return PseudoLabelSummary(out.name.removeprefix("source="), len(outputs.ids), probs.shape[1])


@dataclass(frozen=True)
class _Place:
    """Where the pseudo-labels of one view are kept and what they are made from, beside the source and the samples."""

    folder: Path
    features: Path
    inputs: Inputs


def _places(settings: Config, source: Source, views: ViewSet | None) -> list[_Place]:
    if views is None or feature_store.is_outputs_only(source):
        return [_Place(settings.pseudo(source.name), settings.features(source.name), {})]
    folder = view_store.pseudo_folder(settings, source.name)
    features = view_store.features_folder(settings, source.name)
    return [
        _Place(
            view_store.view_folder(folder, view),
            view_store.view_folder(features, view),
            {"views": str(views), "view": view},
        )
        for view in range(views.count)
    ]


def source_inputs(images: Images, rows: np.ndarray, record: SourceRecord) -> Inputs:
    """What the pseudo-labels of a source on these rows (M,) are made from."""
    samples = images.fingerprint(rows, "ids", "sha256")
    return {"source": record.fingerprint, "samples": samples, "output": record.output}


def _is_current(folder: Path, inputs: Inputs, overwrite: bool, refresh: bool) -> bool:
    """Whether all parts are there. Parts that are to be overwritten, or stale ones to be refreshed, are removed."""
    current = []
    for part in sorted(folder.glob("part-*.parquet")):
        try:
            if provenance.is_current(part, inputs, overwrite=overwrite, name=str(folder), maker="pseudo-label"):
                current.append(part)
                continue
        except Stale:
            if not refresh:
                raise
        part.unlink(missing_ok=True)
    return bool(current) and len(current) == int(current[0].stem.rpartition("-")[2])


def _write(folder: Path, ids: np.ndarray, probs: np.ndarray, inputs: Inputs) -> None:
    """Write parts in float16, enough for a student; the mass that rounding loses is restored when they are read."""
    count = max(1, -(-len(ids) // schemas.ROW_GROUP))
    for part in range(count):
        rows = slice(part * schemas.ROW_GROUP, (part + 1) * schemas.ROW_GROUP)
        table = pa.table(
            {
                "id": pa.array([str(name) for name in ids[rows]], pa.string()),
                "probs": to_list_column(probs[rows].astype(np.float16)),
            }
        )
        files.write_table(folder / f"part-{part:05}-of-{count:05}.parquet", table, schemas.PSEUDO, inputs)
