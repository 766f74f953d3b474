"""The stored outputs of the sources of a workspace: the parts they need, and how a part is checked and written."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from zoo_cli import specs
from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.errors import ContractError, UsageError, ZooError
from zoo_cli.metrics.collapse import COLLAPSED
from zoo_cli.shards import WHOLE, Shard
from zoo_cli.store import (
    feature_files,
    files,
    output_summary,
    parquet_files,
    path_patterns,
    provenance,
    replacement,
    schemas,
)
from zoo_cli.store.columns import to_list_column
from zoo_cli.store.manifest import Images
from zoo_cli.store.provenance import Inputs
from zoo_cli.store.replacement import Replacement
from zoo_cli.store.source_record import (
    DOCUMENT,
    FILES,
    OLD_DOCUMENT,
    SourceRecord,
    has_source_record,
    load_source_record,
    rename_source_record,
    write_source_record,
)
from zoo_cli.store.text_column import TextColumn

PART_ROWS = schemas.ROW_GROUP


@dataclass(frozen=True)
class SourceSummary:
    """What is stored of a source: number of images, width of the features, number of classes, folder.

    `answered`: how many classes are the most probable one of an image; None without a head. `note`: on its weights, and
    whether it is collapsed.
    """

    source: str
    images: int
    features: int
    classes: int
    path: str
    answered: int | None = None
    note: str = ""


def is_outputs_only(source: Source) -> bool:
    """Whether only the outputs of a source are known, not its model."""
    return specs.provider("model provider", source.model)[0] == "features"


def planned_parts(settings: Config, source: Source, images: Images) -> Iterator[tuple[Path, np.ndarray]]:
    """The parts a source should have, with their rows (M,) of the manifest.

    They depend on the images alone, not on the split: splitting again makes nothing stale. Test images are left out,
    because no source is run on them; the student's starting features are of the training data only.
    """
    for data in ("train",) if source.name == STUDENT else ("train", "unlabelled"):
        rows = images.where(data=data)
        count = -(-len(rows) // PART_ROWS)
        for part in range(count):
            name = f"part-{part:05}-of-{count:05}.parquet"
            yield (
                settings.features(source.name) / f"data={data}" / name,
                rows[part * PART_ROWS : (part + 1) * PART_ROWS],
            )


def is_complete(
    settings: Config, source: Source, images: Images, precision: str | None = None, shard: Shard = WHOLE
) -> bool:
    """Whether every part of a shard exists and is current. Raises Stale, naming what differs, if one is stale.

    `precision`: the requested one; None accepts any.
    """
    if not has_source_record(settings, source.name):
        return False
    folder = settings.features(source.name)
    record = load_source_record(settings, source.name)
    check_declaration(settings, source, record, precision)
    made_from = {"source": record.fingerprint}
    planned = list(planned_parts(settings, source, images))
    extra = set(folder.glob("data=*/part-*.parquet")) - {path for path, _ in planned}
    if extra:
        raise provenance.stale_error(str(min(extra)), ["images"], "extract")
    return all(
        provenance.is_current(path, part_inputs(images, rows, made_from), overwrite=False, maker="extract")
        for position, (path, rows) in enumerate(planned)
        if shard.takes(position)
    )


def check_declaration(settings: Config, source: Source, record: SourceRecord, precision: str | None = None) -> None:
    """Raise Stale, naming what differs, if a source is declared otherwise than its record says, or its files changed.

    `precision`: the requested one; None accepts any.
    """
    changed = provenance.differences(record.content.get("declared", {}), to_json_values(settings.declared(source)))
    if precision is not None and not is_outputs_only(source):
        changed += provenance.differences({"precision": record.content.get("precision")}, {"precision": precision})
    changed = changed or _changed_files(settings, source, record)
    if changed:
        raise provenance.stale_error(str(settings.features(source.name)), changed, _maker(source.name))


def part_inputs(images: Images, rows: np.ndarray, made_from: Inputs) -> Inputs:
    """The inputs in a part's header."""
    return {**made_from, "images": images.fingerprint(rows, "ids", "sha256")}


def current_parts(
    settings: Config, source: Source, images: Images, record: SourceRecord, new: Replacement | None = None
) -> set[Path]:
    """The planned parts that exist, intact and made under this record. `new`: in its folder, not in their place."""
    replacement.settle(settings.features(source.name))
    return {
        path
        for path, rows in planned_parts(settings, source, images)
        if provenance.is_made_from(
            path if new is None else new.path(path), part_inputs(images, rows, {"source": record.fingerprint})
        )
    }


def open_features(settings: Config, record: SourceRecord) -> None:
    """Write the record of a source, or check that the existing one agrees. Raises Stale, naming what differs."""
    name = str(record.content["name"])
    record = SourceRecord(to_json_values(record.content))
    if has_source_record(settings, name):
        before = load_source_record(settings, name)
        changed = before.changes(record)
        if changed:
            raise provenance.stale_error(str(settings.features(name)), changed, _maker(name))
        if before == record:
            rename_source_record(settings, name)
            return
    write_source_record(settings, name, record)


def is_replaced(settings: Config, source: Source, images: Images, record: SourceRecord) -> bool:
    """Whether the interrupted command that overwrites the outputs of a source has brought them into their place."""
    if not replacement.is_done(settings.features(source.name), record.fingerprint):
        return False
    return current_parts(settings, source, images, record) == {
        path for path, _ in planned_parts(settings, source, images)
    }


def begin_replacement(settings: Config, record: SourceRecord, *, is_shared: bool = False) -> Replacement:
    """Begin new outputs of a source beside those that are stored, or go on with unfinished ones."""
    place = settings.features(str(record.content["name"]))
    folders = ("data=train", "data=unlabelled")
    new = Replacement.begin(place, record.fingerprint, folders, is_shared=is_shared)
    new.write(lambda: files.write_sealed_json(new.new / DOCUMENT, to_json_values(record.content)))
    return new


def replace_outputs(
    settings: Config, source: Source, images: Images, new: Replacement, record: SourceRecord, *, remember: bool
) -> None:
    """Bring the complete new outputs of a source into their place; old parts that are not planned go.

    `remember`: see `Replacement.swap`. Raises ZooError if parts are missing, because another process has replaced the
    outputs by others.
    """
    planned = {path for path, _ in planned_parts(settings, source, images)}
    old = set(settings.features(source.name).glob("data=*/part-*.parquet")) - planned
    obsolete = [path.relative_to(new.place).as_posix() for path in old]
    new.swap([*obsolete, OLD_DOCUMENT, output_summary.DOCUMENT], remember=remember)
    if current_parts(settings, source, images, record) != planned:
        raise ZooError(f"{new.place}: another process has stored other outputs", "run the same command again")


def write_part(
    path: Path,
    images: Images,
    rows: np.ndarray,
    present: np.ndarray,
    features: np.ndarray | None,
    logits: np.ndarray | None,
    made_from: Inputs,
    source: str,
    card: Mapping[str, Any] | None = None,
) -> None:
    """Commit one part: the rows `present` (M,) of the planned `rows`, features (M, D) and logits (M, K), if any.

    `card`: the GPU that computed them, see `parquet_files.write_table`.

    Raises ContractError if a value is not finite.
    """
    columns: dict[str, Any] = {"id": images.ids.take(present).values.cast(pa.string())}
    for name, values in (("embedding", features), ("logits", logits)):
        if values is None:
            continue
        if len(values) != len(present):
            raise AssertionError(f"{source}: {len(present)} images, {len(values)} rows of {name}")
        bad = ~np.isfinite(values).all(axis=1)
        if bad.any():
            ids = ", ".join(str(name) for name in images.ids[present][bad][:5])
            raise ContractError(
                f"{source} gives {name} that are not finite for {bad.sum():,} images, e.g. {ids}",
                "bf16 or float16 weights may overflow: use --precision fp32, or leave the source out",
            )
        columns[name] = to_list_column(values.astype(np.float32, copy=False))
    if len(columns) == 1 and len(present):
        raise ContractError(
            f"{source} gives neither features nor logits",
            "stored outputs need a column embedding, logits or probs; or leave the source out",
        )
    parquet_files.write_table(path, pa.table(columns), schemas.FEATURES, part_inputs(images, rows, made_from), card)


def stored_bytes(settings: Config, source: Source) -> float:
    """What the stored outputs of a source take per image in bytes; 0 where none can be read."""
    parts = list(settings.features(source.name).glob("data=*/part-*.parquet"))
    try:
        rows = sum(parquet_files.row_count(part) for part in parts)
        return sum(part.stat().st_size for part in parts) / rows if rows else 0.0
    except (ContractError, UsageError, FileNotFoundError):
        return 0.0


def missing_ids(settings: Config, sources: Iterable[Source], images: Images) -> frozenset[str]:
    """The ids that are missing from finished parts of sources that were run, because their images failed."""
    missing: set[str] = set()
    for source in sources:
        if is_outputs_only(source):
            continue
        for path, rows in planned_parts(settings, source, images):
            # A damaged part tells nothing, and must not keep another source from being made again.
            with suppress(ContractError):
                # The number of rows is in the footer; the ids are read only if some are missing.
                if path.exists() and parquet_files.row_count(path) < len(rows):
                    stored = TextColumn.of(parquet_files.read_parquet(path, ["id"]).column("id"))
                    planned = images.ids.take(rows)
                    missing.update(planned[~planned.isin(stored)])
    return frozenset(missing)


def summarize_source(settings: Config, source: Source) -> SourceSummary:
    """What is stored of a source."""
    record = load_source_record(settings, source.name)
    folder = settings.features(source.name)
    count = sum(parquet_files.row_count(part) for part in sorted(folder.glob("data=*/part-*.parquet")))
    outputs = output_summary.load_summary(settings, source.name)
    collapsed = COLLAPSED if outputs.collapsed and source.name != STUDENT else ""
    note = ", ".join(filter(None, (record.weights_note, collapsed)))
    return SourceSummary(source.name, count, record.features, record.classes, str(folder), outputs.answered, note)


def to_json_values(value: Any) -> Any:
    """A value as JSON would return it: tuples become lists."""
    if isinstance(value, Mapping):
        return {key: to_json_values(item) for key, item in value.items()}
    return [to_json_values(item) for item in value] if isinstance(value, (list, tuple)) else value


def _changed_files(settings: Config, source: Source, record: SourceRecord) -> list[str]:
    """The files of a source that changed since it was run. The outputs of a deleted file stay valid."""
    provider, rest = specs.provider("model provider", source.model)
    if provider == "features":
        path = settings.root / rest
        gone = not path_patterns.match_paths(path)
        same = gone or feature_files.content_digest(path) == record.content.get("weights_sha256")
        return [] if same else ["weights_sha256"]
    if provider == "clip":  # the digest of its weights is also of its text
        recorded = record.content.get(FILES) or {}
        digests = zero_shot_files(settings, source)
        return [name for name, digest in digests.items() if recorded.get(name, digest) != digest]
    own_weights = {"file": f"{rest}/model.safetensors", "transformers": f"{rest}/model.safetensors", "onnx": rest}
    names = {
        "weights_sha256": source.weights or own_weights.get(provider, ""),
        "code_sha256": rest.rpartition(":")[0] if provider == "python" else "",
    }
    paths = {key: settings.root / name for key, name in names.items() if name}
    return [key for key, path in paths.items() if path.is_file() and files.digest(path) != record.content.get(key)]


def zero_shot_files(settings: Config, source: Source) -> dict[str, str]:
    """The digests of the files of a zero-shot source, by the keys that declare them; none for other sources."""
    if specs.provider("model provider", source.model)[0] != "clip":
        return {}
    named = {"weights": source.weights, "class_embeddings": source.class_embeddings}
    paths = {key: settings.root / name for key, name in named.items() if name}
    return {key: files.digest(path) for key, path in paths.items() if path.is_file()}


def _maker(name: str) -> str:
    return f"extract --source {name}"
