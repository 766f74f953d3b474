"""The checks of what is stored of each source: its record and outputs, its views, its gradients."""

import re
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from zoo_cli.config import Source, source_name
from zoo_cli.errors import ContractError
from zoo_cli.metrics.collapse import OutputSummary
from zoo_cli.pipeline.probe_set import probe_rows
from zoo_cli.pipeline.verify_checks import (
    Check,
    Known,
    Reported,
    check_ids,
    check_tag,
    join_command,
    read_outputs,
    report_missing,
    try_to_read,
)
from zoo_cli.store import (
    feature_files,
    feature_store,
    files,
    first_weights,
    gradient_store,
    output_summary,
    parquet_files,
    provenance,
    schemas,
    view_store,
)
from zoo_cli.store.columns import to_matrix
from zoo_cli.store.gradient_store import GradientRecord
from zoo_cli.store.records import build_record
from zoo_cli.store.source_record import DOCUMENT, SourceRecord, has_source_record, load_source_record
from zoo_cli.store.text_column import TextColumn
from zoo_cli.store.view_set import ViewSet

PREFIX = "source="


def list_sources(known: Known) -> Iterator[Check]:
    """The checks of all sources of which something is stored."""
    root = known.settings.root
    for folder in _source_folders(root / "features"):
        yield from _list_features(known, folder.name.removeprefix(PREFIX))
    yield from _list_views(known)
    for folder in _source_folders(root / "gradients"):
        yield from _list_gradients(known, folder.name.removeprefix(PREFIX))
    for path in sorted((root / first_weights.FOLDER).glob("*.json")):
        yield Check(path, partial(first_weights.load_weights_record, path), f"rm {path}")


def extract_command(known: Known, name: str, *flags: str) -> str:
    """The command that makes the outputs of a source again; empty for one that neither zoo.toml nor its record names.

    `flags`: for what is made together with them.
    """
    record = try_to_read(partial(load_source_record, known.settings, name))
    spec = name
    if known.find_source(name) is None:
        spec = "" if record is None else str(record.content.get("model", ""))
        if source_name(spec) != name:
            return ""
    precision = "fp32" if record is None else record.content.get("precision") or "fp32"
    further = () if precision == "fp32" else ("--precision", str(precision))
    return join_command("extract", "--source", spec, *flags, *further, "--overwrite")


def _source_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"{PREFIX}*") if path.is_dir())


def _list_features(known: Known, name: str) -> Iterator[Check]:
    settings = known.settings
    folder = settings.features(name)
    existing = sorted(folder.glob("data=*/part-*.parquet"))
    if not existing and not has_source_record(settings, name) and not (folder / output_summary.DOCUMENT).exists():
        return
    command = extract_command(known, name)
    record = try_to_read(partial(load_source_record, settings, name))
    yield Check(folder / DOCUMENT, partial(_read_record, known, name), command)
    planned = _plan_parts(known, name)
    for path in existing:
        yield Check(path, partial(_read_part, known, record, path, planned), command)
    was_complete = _count_summarised(folder) > sum(
        try_to_read(partial(parquet_files.row_count, path)) or 0 for path in existing
    )
    for path in planned or ():
        if not path.exists():
            yield Check(path, partial(report_missing, path, was_there=was_complete), command)
    summary = folder / output_summary.DOCUMENT
    if summary.exists():
        is_whole = all(path.exists() for path in planned or ())
        yield Check(summary, partial(_read_summary, record, summary, is_whole), command)
    means = folder / schemas.SOURCE_MEANS.file
    if means.exists():
        yield Check(means, partial(parquet_files.read_table, means, schemas.SOURCE_MEANS))


def _plan_parts(known: Known, name: str) -> dict[Path, np.ndarray] | None:
    if known.images is None:
        return None
    return dict(feature_store.planned_parts(known.settings, Source(name, ""), known.images))


def _read_record(known: Known, name: str) -> None:
    record = load_source_record(known.settings, name)
    if record.content.get("name") != name:
        raise ContractError(f"{known.settings.features(name)} holds the record of {record.content.get('name')}")
    source = known.find_source(name)
    if source is not None:
        feature_store.check_declaration(known.settings, source, record)


def _read_part(
    known: Known,
    record: SourceRecord | None,
    path: Path,
    planned: dict[Path, np.ndarray] | None,
    inputs: dict[str, object] | None = None,
) -> None:
    outputs = read_outputs(
        path, schemas.FEATURES, ("embedding", "logits"), "softmax" if record is None else record.output
    )
    made_from = parquet_files.read_header(path).get("inputs", {})
    if record is not None:
        if made_from.get("source") != record.fingerprint:
            raise ContractError(f"{path} was not made by the source that {DOCUMENT} describes")
        for column, width in (("embedding", record.features), ("logits", record.classes)):
            values = getattr(outputs, column)
            if len(outputs.ids) and (0 if values is None else values.shape[1]) != width:
                raise ContractError(f"{path}: column {column} has not the width {width} that {DOCUMENT} names")
    if planned is None or known.images is None:
        return
    if path not in planned:
        raise provenance.stale_error(str(path), ["images"])
    further = {"source": made_from.get("source")} if inputs is None else {**inputs, "source": made_from.get("source")}
    changed = provenance.differences(made_from, feature_store.part_inputs(known.images, planned[path], further))
    if changed:
        raise provenance.stale_error(str(path), changed)
    lacks_any = record is None or record.outputs_only
    check_ids(path, outputs.ids, known.images.ids[planned[path]], None if lacks_any else known.failed)


def _count_summarised(folder: Path) -> int:
    """The number of images of which outputs were stored when they were last summarised; 0 if it is not known."""
    path = folder / output_summary.DOCUMENT
    summary = try_to_read(lambda: _load_summary(path)) if path.exists() else None
    return 0 if summary is None else summary.images


def _load_summary(path: Path) -> OutputSummary:
    return build_record(OutputSummary, files.read_json(path), path, extra_keys=True)


def _read_summary(record: SourceRecord | None, path: Path, is_whole: bool) -> None:
    """Compare the summary of outputs with them. `is_whole`: all of them are there, so that it is of all of them."""
    summary = _load_summary(path)
    if record is None:
        return
    digest = try_to_read(partial(feature_files.content_digest, path.parent))
    if files.read_json(path).get("inputs") != {"source": record.fingerprint, "parts": digest}:
        if is_whole and digest is not None:
            raise provenance.stale_error(str(path), ["parts"])
        return
    again = try_to_read(partial(output_summary.summarise_path, path.parent, record.output))
    if again is not None and again != summary:
        raise ContractError(f"{path} does not describe the parts beside it: {asdict(again)}")


def _list_views(known: Known) -> Iterator[Check]:
    settings = known.settings
    folder = settings.root / "features" / "views"
    sources = [path for path in _source_folders(folder) if any(path.glob("view=*/data=*/part-*.parquet"))]
    document = folder / view_store.DOCUMENT
    if not document.exists() and not sources:
        return
    views = try_to_read(partial(view_store.load_view_set, settings))
    stored = views or _guess_views(sources)
    flags = ("--views", str(stored.count), "--augment", stored.augment) if stored else ()
    command = join_command("extract", *flags, "--overwrite") if stored else ""
    yield Check(document, partial(_read_views, known), command)
    for path in sources:
        name = path.name.removeprefix(PREFIX)
        record = try_to_read(partial(load_source_record, settings, name))
        command = extract_command(known, name, *flags)
        parts: dict[Path, tuple[np.ndarray, int]] = {}
        if views is not None and known.images is not None:
            for part in view_store.planned_parts(settings, Source(name, ""), known.images, views):
                parts |= {file: (part.rows, view) for view, file in enumerate(part.paths)}
        for file in sorted(view_store.existing_parts(settings, name)):
            yield Check(file, partial(_read_view_part, known, record, file, views, parts), command)
        for file in parts:
            if not file.exists():
                yield Check(file, partial(report_missing, file, was_there=False), command)


def _guess_views(sources: list[Path]) -> ViewSet | None:
    """The views that the headers of stored parts name; None if none can be read."""
    for folder in sources:
        for path in folder.glob("view=*/data=*/part-*.parquet"):
            header = try_to_read(partial(parquet_files.read_header, path)) or {}
            text = re.fullmatch(r"(\d+) (\w+) views?, seed (\d+)", str(header.get("inputs", {}).get("views", "")))
            if text:
                return ViewSet(int(text[1]), text[2], int(text[3]))
    return None


def _read_views(known: Known) -> None:
    if view_store.load_view_set(known.settings) is None:
        path = known.settings.root / "features" / "views" / view_store.DOCUMENT
        raise ContractError(f"{path} is missing")


def _read_view_part(
    known: Known,
    record: SourceRecord | None,
    path: Path,
    views: ViewSet | None,
    parts: dict[Path, tuple[np.ndarray, int]],
) -> None:
    planned = {file: rows for file, (rows, _) in parts.items()} if parts else None
    view = parts[path][1] if path in parts else 0
    inputs = dict(view_store.made_from("", views, view)) if views is not None else None
    _read_part(known, record, path, planned, inputs)


def _list_gradients(known: Known, name: str) -> Iterator[Check]:
    settings = known.settings
    folder = settings.gradients(name)
    parts = gradient_store.stored_parts(settings, name)
    record = try_to_read(partial(gradient_store.load_gradient_record, settings, name))
    has_record = any((folder / file).exists() for file in (gradient_store.DOCUMENT, gradient_store.OLD_DOCUMENT))
    if not parts and not has_record:
        return
    projection = () if record is None else ("--projection", record.projection)
    if projection == ("--projection", gradient_store.PROJECTION):
        projection = ()
    command = extract_command(known, name, "--gradients", *projection)
    yield Check(folder / gradient_store.DOCUMENT, partial(_read_gradient_record, known, name), command)
    for path in parts:
        yield Check(path, partial(_read_gradients, known, record, path), command)
    if record is not None and known.images is not None and known.failed is not None:
        yield Check(folder, partial(_check_probe, known, folder, parts), command)


def _read_gradient_record(known: Known, name: str) -> None:
    settings = known.settings
    record = gradient_store.load_gradient_record(settings, name)
    if record is None:
        raise ContractError(f"{settings.gradients(name) / gradient_store.DOCUMENT} is missing")
    source = try_to_read(partial(load_source_record, settings, name))
    declared = known.find_source(name)
    changed = [] if source is None or source.fingerprint == record.source else ["source"]
    if declared is not None and declared.gradient_layer != record.gradient_layer:
        changed.append("gradient_layer")
    if changed:
        raise provenance.stale_error(str(settings.gradients(name)), changed)


def _read_gradients(known: Known, record: GradientRecord | None, path: Path) -> None:
    check_tag(path, schemas.GRADIENTS)
    table = parquet_files.read_table(path, schemas.GRADIENTS)
    ids = [str(name) for name in table.column("id").to_pylist()]
    if path.stem != f"part-{provenance.fingerprint(ids)[:16]}":
        raise ContractError(f"{path}: its ids are not those that its name stands for")
    for column in ("gradient", "gradient_sum"):
        if not np.isfinite(to_matrix(table.column(column), f"{path}: column {column}")).all():
            raise ContractError(f"{path}: column {column} is not finite")
    made_from = parquet_files.read_header(path).get("inputs", {})
    if record is not None and made_from.get("gradients") != provenance.fingerprint(asdict(record)):
        raise ContractError(f"{path} was not made as {gradient_store.DOCUMENT} describes")
    if record is None or known.images is None:
        return
    rows = known.images.ids.positions(TextColumn.of(ids))
    if (rows < 0).any() or made_from != gradient_store.part_inputs(known.images, rows, record):
        raise provenance.stale_error(str(path), ["images"])


def _check_probe(known: Known, folder: Path, parts: list[Path]) -> None:
    """Report images of the probe set whose gradients are not stored: a new probe set has some."""
    assert known.images is not None
    stored: set[str] = set()
    for path in parts:
        table = try_to_read(partial(parquet_files.read_parquet, path, ["id"]))
        if table is None:
            return  # that part is reported
        stored.update(map(str, table.column("id").to_pylist()))
    rows = probe_rows(known.settings, known.images)
    missing = [str(each) for each in known.images.ids[rows] if str(each) not in stored]
    if missing:
        raise Reported("unfinished", f"{folder} lacks {len(missing):,} images of the probe set, e.g. {missing[0]}")
