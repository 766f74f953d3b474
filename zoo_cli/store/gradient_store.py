"""The stored gradients of sources on the probe set: how a part is checked, read and written.

They are stored apart from the features, in `gradients/source=S/`, because two vectors of 10,000 numbers take 80 KB per
sample, too much for every image. A part holds samples by id and is named after them. Splitting again makes none of them
stale: what a new probe set lacks is added, and what it no longer needs stays for the next.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from zoo_cli import specs
from zoo_cli.config import Config, Source
from zoo_cli.errors import ContractError, UsageError, ZooError
from zoo_cli.store import commits, feature_store, files, parquet_files, provenance, replacement, schemas
from zoo_cli.store.columns import to_list_column, to_matrix
from zoo_cli.store.manifest import Images
from zoo_cli.store.provenance import Inputs
from zoo_cli.store.records import build_record
from zoo_cli.store.replacement import Replacement
from zoo_cli.store.source_record import MISSING, has_source_record, load_document, load_source_record
from zoo_cli.store.text_column import TextColumn

DOCUMENT, OLD_DOCUMENT = "_gradients.json", "gradients.json"
PROJECTION = "10000"
BLOCKS = 5
"""A projection consists of this many blocks, each of which is a projection too, see `models.projection`."""


@dataclass(frozen=True)
class GradientRecord:
    """How the gradients of a source were made, see `schemas.DOCUMENTS`; the keys of the document, in their order."""

    source: str
    gradient_layer: str
    projection: str
    seed: int
    layer: str
    weights: int
    outputs: int
    projected: list[str]


def check_projection(text: str) -> None:
    """Raise UsageError unless this is a length that gradients can be projected to, or "none"."""
    if text != "none" and not (text.isdigit() and int(text) >= BLOCKS and int(text) % BLOCKS == 0):
        raise UsageError(f'--projection "{text}"', f"expected a multiple of {BLOCKS}, or none")


def unavailable_reason(settings: Config, source: Source) -> str:
    """Why a source cannot have gradients; empty if it can."""
    if feature_store.is_outputs_only(source):
        return "only its stored outputs are known"
    if specs.provider("model provider", source.model)[0] == "onnx":
        return "an ONNX file can be run, but not differentiated"
    if has_source_record(settings, source.name) and not load_source_record(settings, source.name).classes:
        return "it has no head"
    return ""


def load_gradient_record(settings: Config, name: str) -> GradientRecord | None:
    """How the gradients of a source were made; None where it has none. Raises ContractError for a damaged document."""
    folder = settings.gradients(name)
    path = folder / DOCUMENT
    replacement.settle(folder)
    content = load_document(path, folder / OLD_DOCUMENT)
    if content is MISSING:
        return None
    return build_record(GradientRecord, content, path, f"zoo {_maker(name)} --overwrite makes it again")


def missing_rows(
    settings: Config, source: Source, images: Images, rows: np.ndarray, projection: str | None
) -> np.ndarray:
    """The rows whose gradients are not stored. `projection` None accepts any.

    Raises Stale, naming what differs, if stored ones are stale.
    """
    record = load_gradient_record(settings, source.name)
    if record is None:
        return rows
    current = {
        "source": load_source_record(settings, source.name).fingerprint,
        "gradient_layer": source.gradient_layer,
        "projection": record.projection if projection is None else projection,
    }
    folder = settings.gradients(source.name)
    changed = provenance.differences({key: getattr(record, key) for key in current}, current)
    if changed:
        raise provenance.stale_error(str(folder), changed, _maker(source.name))
    stored: set[str] = set()
    for part in stored_parts(settings, source.name):
        ids = TextColumn.of(parquet_files.read_table(part, schemas.GRADIENTS, ["id"]).column("id"))
        present = images.ids.positions(ids)
        inputs = part_inputs(images, present, record) if (present >= 0).all() else {"images": None}
        changed = provenance.differences(parquet_files.read_header(part).get("inputs", {}), inputs)
        if changed:
            raise provenance.stale_error(str(part), changed, _maker(source.name))
        stored.update(ids)
    return np.asarray(rows[~images.ids.take(rows).isin(stored)])


def load_gradients(settings: Config, name: str, ids: np.ndarray, column: str) -> np.ndarray:
    """The vectors (N, W) of a source's samples: column `gradient`, over all outputs, or `gradient_sum`."""

    def read() -> list[tuple[list[str], np.ndarray]]:
        tables = [
            (part, parquet_files.read_table(part, schemas.GRADIENTS, ["id", column]))
            for part in stored_parts(settings, name)
        ]
        return [
            (table.column("id").to_pylist(), to_matrix(table.column(column), f"{part}: column {column}"))
            for part, table in tables
        ]

    parts = replacement.read_whole(settings.gradients(name), read)
    stored, pieces = [sample for samples, _ in parts for sample in samples], [piece for _, piece in parts]
    row_of = {sample: row for row, sample in enumerate(stored)}
    missing = [str(sample) for sample in ids if sample not in row_of]
    if missing:
        raise ContractError(
            f"{settings.gradients(name)} lacks {len(missing):,} of {len(ids):,} samples, e.g. {missing[0]}",
            "zoo extract --gradients",
        )
    if len({piece.shape[1] for piece in pieces}) > 1:
        raise ContractError(f"{settings.gradients(name)}: the parts disagree on the width of {column}")
    return np.concatenate(pieces)[[row_of[str(sample)] for sample in ids]]


def open_gradients(settings: Config, name: str, record: GradientRecord) -> None:
    """Write the record of a source, or check that the existing one agrees."""
    folder = settings.gradients(name)
    commits.remove_leftovers(folder)
    before = load_gradient_record(settings, name)
    if before is not None:
        changed = provenance.differences(asdict(before), asdict(record))
        if changed:
            raise provenance.stale_error(str(folder), changed, _maker(name))
        if (folder / DOCUMENT).exists():
            return
    else:
        # Without a record, parts made in this very way may be those of another process that has just begun.
        made = provenance.fingerprint(asdict(record))
        for part in stored_parts(settings, name):
            if parquet_files.read_header(part).get("inputs", {}).get("gradients") != made:
                part.unlink(missing_ok=True)
    files.write_sealed_json(folder / DOCUMENT, asdict(record))
    (folder / OLD_DOCUMENT).unlink(missing_ok=True)


def is_replaced(settings: Config, source: Source, images: Images, rows: np.ndarray, record: GradientRecord) -> bool:
    """Whether the interrupted command that overwrites the gradients of a source has brought them into their place."""
    if not replacement.is_done(settings.gradients(source.name), provenance.fingerprint(asdict(record))):
        return False
    return load_gradient_record(settings, source.name) == record and not len(
        missing_rows(settings, source, images, rows, None)
    )


def begin_replacement(
    settings: Config, name: str, record: GradientRecord, images: Images, rows: np.ndarray
) -> tuple[Replacement, np.ndarray]:
    """Begin new gradients of a source beside those that are stored; the rows that unfinished ones lack."""
    new = Replacement.begin(settings.gradients(name), provenance.fingerprint(asdict(record)))
    new.write(lambda: files.write_sealed_json(new.new / DOCUMENT, asdict(record)))
    stored: set[str] = set()

    def find_current() -> set[Path]:
        current = set()
        for part in sorted(new.new.glob("part-*.parquet")):
            ids = TextColumn.of(parquet_files.read_parquet(part, ["id"]).column("id"))
            present = images.ids.positions(ids)
            if (present >= 0).all() and provenance.is_made_from(part, part_inputs(images, present, record)):
                stored.update(ids)
                current.add(new.place / part.name)
        return current

    new.keep(find_current)
    return new, rows[~images.ids.take(rows).isin(stored)]


def replace_gradients(settings: Config, name: str, record: GradientRecord, new: Replacement, *, remember: bool) -> None:
    """Bring the complete new gradients of a source into their place; all old ones go.

    Raises ZooError if another process has replaced them by others.
    """
    obsolete = [part.name for part in stored_parts(settings, name)]
    new.swap([*obsolete, OLD_DOCUMENT], remember=remember)
    if load_gradient_record(settings, name) != record:
        raise ZooError(f"{new.place}: another process has stored other gradients", "run the same command again")


def write_gradients(
    settings: Config,
    name: str,
    record: GradientRecord,
    images: Images,
    rows: np.ndarray,
    trace: np.ndarray,
    summed: np.ndarray,
    card: Mapping[str, Any] | None = None,
    new: Replacement | None = None,
) -> Path:
    """Commit a part: the vectors (M, W) and (M, W') of rows (M,), and the GPU that computed them, if one did.

    Returns its path. `new`: where it is made, if it replaces others. Raises ContractError if a value is not finite.
    """
    ids = [str(sample) for sample in images.ids[rows]]
    bad = ~(np.isfinite(trace).all(axis=1) & np.isfinite(summed).all(axis=1))
    if bad.any():
        names = ", ".join(np.array(ids)[bad][:5])
        raise ContractError(
            f"{name} gives gradients that are not finite for {bad.sum():,} images, e.g. {names}",
            "check its weights, or leave it out of lgc",
        )
    table = pa.table(
        {"id": pa.array(ids, pa.string()), "gradient": to_list_column(trace), "gradient_sum": to_list_column(summed)}
    )
    path = settings.gradients(name) / f"part-{provenance.fingerprint(ids)[:16]}.parquet"
    inputs = part_inputs(images, rows, record)
    replacement.commit(new, path, parquet_files.write_table, table, schemas.GRADIENTS, inputs, card)
    return path


def part_inputs(images: Images, rows: Any, record: GradientRecord) -> Inputs:
    """The inputs in the header of a part of these rows."""
    return {
        "gradients": provenance.fingerprint(asdict(record)),
        "images": images.fingerprint(rows, "ids", "sha256"),
    }


def stored_parts(settings: Config, name: str) -> list[Path]:
    """The parts of a source."""
    return sorted(settings.gradients(name).glob("part-*.parquet"))


def _maker(name: str) -> str:
    return f"extract --gradients --source {name}"
