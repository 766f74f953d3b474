"""`zoo extract`: features and logits of every source, each image decoded once for all of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo_cli import config, console, devices, interruption
from zoo_cli.commands.options import (
    HERE,
    Device,
    DryRun,
    Format,
    Json,
    MaxErrors,
    Overwrite,
    Precision,
    Workers,
    Workspace,
)
from zoo_cli.config import Config, Source
from zoo_cli.errors import UsageError, ZooError
from zoo_cli.pipeline import gradient_extraction, split
from zoo_cli.store import failures, feature_store, provenance, schemas

if TYPE_CHECKING:
    import numpy as np
    import torch

    from zoo_cli.models.extraction import FeatureRunner
    from zoo_cli.models.loading import LoadedModel
    from zoo_cli.store.manifest import Images

PART_ROWS = schemas.ROW_GROUP
CPU_BATCH, CUDA_BATCH = 64, 512
FIELDS = (
    console.Field("source"),
    console.Field("images", style=","),
    console.Field("features", style="d"),
    console.Field("classes", style="d"),
)


def extract(
    source: Annotated[
        list[str] | None, typer.Option("--source", help="A source by name or PROVIDER:NAME. Repeats.")
    ] = None,
    train: Annotated[
        list[str] | None, typer.Option("--train", help="Training images, without a zoo.toml. Repeats.")
    ] = None,
    with_gradients: Annotated[
        bool, typer.Option("--gradients", help="Also what lgc compares: gradients of the probe set.")
    ] = False,
    projection: Annotated[
        str | None, typer.Option("--projection", help="Numbers a gradient is projected to, or none. Default: 10000.")
    ] = None,
    batch_size: Annotated[str, typer.Option("--batch-size", help="Images a forward pass, or auto.")] = "auto",
    device: Device = "auto",
    precision: Precision = "fp32",
    workers: Workers = None,
    max_errors: MaxErrors = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """Store the features and logits of every source, and the student's own starting features.

    zoo extract
    zoo extract --gradients
    zoo extract --train folder:pets --source torchvision:resnet18.IMAGENET1K_V1 -C work
    """
    settings = config.load(workspace).with_task(train=train)
    chosen = settings.select(source or []) if source else settings.models
    if not chosen:
        raise UsageError(f"no source in {workspace / config.FILE}", "add a [[source]] table, or --source PROVIDER:NAME")
    if with_gradients:
        gradient_extraction.parse_projection(projection or gradient_extraction.PROJECTION)
    elif projection is not None:
        raise UsageError("--projection is of gradients", "add --gradients")
    rows = extract_features(
        settings,
        chosen,
        batch_size=batch_size,
        device=device,
        precision=precision,
        workers=workers,
        max_errors=max_errors,
        overwrite=overwrite,
        dry_run=dry_run,
    )
    if with_gradients and (settings.manifest.exists() or not dry_run):
        gradient_extraction.extract_gradients(
            settings,
            chosen,
            split.ensure_manifest(settings),
            projection=projection or gradient_extraction.PROJECTION,
            batch=_batch_size(batch_size),
            device=device,
            workers=workers,
            overwrite=overwrite,
            dry_run=dry_run,
        )
    if not dry_run:
        console.answer("zoo.extract/1", rows, FIELDS, form="json" if json else form)


def ensure_features(settings: Config, chosen: Sequence[Source]) -> "Images":
    """The manifest, once every chosen source's outputs are there. Raises UsageError where one is stale."""
    images = split.ensure_manifest(settings)
    lacking = [source for source in chosen if not feature_store.is_complete(settings, source, images, PART_ROWS)]
    if lacking:
        console.say(f"no features of {', '.join(source.name for source in lacking)} yet: zoo extract makes them first")
        extract_features(settings, lacking)
    return images


def extract_features(
    settings: Config,
    chosen: Sequence[Source],
    *,
    batch_size: str = "auto",
    device: str = "auto",
    precision: str = "fp32",
    workers: int | None = None,
    max_errors: str | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
) -> list[dict[str, Any]]:
    """Write what is missing of the chosen sources' outputs; one row a source of what there is then."""
    from zoo_cli.models import loading

    devices.check_precision(precision)
    batch = _batch_size(batch_size)
    # What is wrong in a flag is said before the work, not after it.
    failures.parse_limit(max_errors or "0", 0)
    devices.workers(workers)
    if dry_run and not settings.manifest.exists():
        split.make_manifest(settings, workers=workers, dry_run=True)
        console.say(f"would extract them from {len(chosen)} sources: {', '.join(source.name for source in chosen)}")
        return []
    images = split.ensure_manifest(settings, workers=workers)
    where = (
        None
        if dry_run or all(feature_store.is_outputs_only(source) for source in chosen)
        else devices.choose(device, purpose="extracting")
    )
    todo: list[Source] = []
    for source in chosen:
        if feature_store.is_outputs_only(source):
            if not dry_run:
                feature_store.import_outputs(settings, source, images, PART_ROWS, overwrite=overwrite)
            continue
        if not overwrite and feature_store.is_complete(settings, source, images, PART_ROWS, precision):
            console.say(f"{source.name} is up to date")
            continue
        todo.append(source)
    # Every model loads before --overwrite removes what one of them has stored.
    models = [loading.load_model(source, settings.root, seed=settings.task.seed) for source in todo]
    jobs = [
        _job(settings, source, model, images, precision, overwrite, dry_run)
        for source, model in zip(todo, models, strict=True)
    ]
    wanted = sum(len(rows) for job in jobs for rows in job.missing.values())
    if dry_run:
        console.say(
            f"would extract {wanted:,} outputs from {len(jobs)} sources: {', '.join(job.source.name for job in jobs)}"
        )
        return []
    if jobs and where is not None:
        _run(settings, jobs, images, where, precision, batch, workers)
        # An earlier, interrupted run may have met some of them; others may be whole by now.
        gone = feature_store.missing_ids(settings, [*settings.models, *chosen], images, PART_ROWS)
        failed = [row for row in failures.load_failures(settings, "extract") if row["id"] in gone]
        total = len(images.where(data="train")) + len(images.where(data="unlabelled"))
        failures.record_failures(settings, "extract", failed, total, max_errors or "0")
    return [feature_store.summarize_source(settings, source) for source in chosen]


@dataclass
class ExtractionJob:
    """One source and its missing parts: rows of the manifest by the path of the part."""

    source: Source
    model: "LoadedModel"
    inputs: dict[str, Any]
    missing: "dict[Path, np.ndarray]"


def _job(
    settings: Config,
    source: Source,
    model: "LoadedModel",
    images: "Images",
    precision: str,
    overwrite: bool,
    dry_run: bool,
) -> ExtractionJob:
    from zoo_cli.models import loading

    said = {**loading.describe_model(model), "precision": precision, "declared": settings.declared(source)}
    folder = settings.features(source.name)
    if not dry_run:
        feature_store.open_features(folder, said, overwrite=overwrite)
    made_from = {"source": feature_store.source_fingerprint(said)}
    missing = {
        path: rows
        for path, rows in feature_store.planned_parts(settings, source, images, PART_ROWS)
        if overwrite
        or not provenance.is_current(
            path, feature_store.part_inputs(images, rows, made_from), overwrite=False, maker="extract"
        )
    }
    return ExtractionJob(source, model, made_from, missing)


def _run(
    settings: Config,
    jobs: Sequence[ExtractionJob],
    images: "Images",
    device: "torch.device",
    precision: str,
    batch: int | None,
    workers: int | None,
) -> None:
    """Part by part: decode each image once, run every source that lacks the part, commit."""
    from zoo_cli.models.extraction import FeatureRunner

    runners = {job.source.name: FeatureRunner(job.model, device, precision) for job in jobs}
    pieces: dict[tuple[int, ...], list[tuple[ExtractionJob, Path]]] = {}
    for job in jobs:
        for path, planned in job.missing.items():
            pieces.setdefault(tuple(planned.tolist()), []).append((job, path))
    total = sum(len(rows) for rows in pieces)
    size = batch or (CUDA_BATCH if device.type == "cuda" else CPU_BATCH)
    with console.Progress("extract", total, "img") as progress:
        for rows, takers in sorted(pieces.items()):
            interruption.check()
            size = _part(settings, images, rows, takers, runners, size, batch is None, workers, progress)
        console.say(progress.line)


def _part(
    settings: Config,
    images: "Images",
    rows: Sequence[int],
    takers: "Sequence[tuple[ExtractionJob, Path]]",
    runners: "dict[str, FeatureRunner]",
    size: int,
    automatic: bool,
    workers: int | None,
    progress: console.Progress,
) -> int:
    """One part of every source that lacks it. The batch size that fitted."""
    import numpy as np
    import torch

    from zoo_cli.images import decoding

    while True:
        collected: dict[str, list[tuple[Any, Any]]] = {job.source.name: [] for job, _ in takers}
        failed: dict[str, dict[str, Any]] = {}
        kept: list[int] = []
        shapes = {decoding.view_geometry(job.model.preprocessing): None for job, _ in takers}
        try:
            for numbers, views in _batches(images, rows, list(shapes), size, workers, failed, progress):
                kept += numbers
                tensors = {shape: torch.from_numpy(np.stack(stack)) for shape, stack in views.items()}
                for job, _ in takers:
                    runner = runners[job.source.name]
                    collected[job.source.name].append(runner(tensors[decoding.view_geometry(job.model.preprocessing)]))
            break
        except torch.OutOfMemoryError:
            if not automatic or size == 1:
                raise ZooError(f"out of GPU memory with --batch-size {size}", "make it smaller, or auto") from None
            size //= 2
            torch.cuda.empty_cache()
            console.warn(f"out of GPU memory: going on with --batch-size {size}")
    if len(kept) + len(failed) != len(rows):
        raise AssertionError(f"{len(rows)} rows in, {len(kept)} out and {len(failed)} failed")
    if failed:
        failures.add_failures(settings, "extract", list(failed.values()))
    order = np.array(kept, dtype=np.int64)
    for job, path in takers:
        features, logits = (_joined([item[k] for item in collected[job.source.name]]) for k in (0, 1))
        feature_store.write_part(path, images, np.array(rows), order, features, logits, job.inputs, job.source.name)
    return size


def _batches(
    images: "Images",
    rows: Sequence[int],
    shapes: Sequence[Any],
    size: int,
    workers: int | None,
    failed: dict[str, dict[str, Any]],
    progress: console.Progress,
) -> "Iterator[tuple[list[int], dict[Any, list[np.ndarray]]]]":
    """Batches of decoded views, one stack a geometry; what cannot be decoded goes to `failed`."""
    from zoo_cli.images import decoding

    numbers: list[int] = []
    stacks: dict[Any, list[Any]] = {shape: [] for shape in shapes}
    items = (images.getter(row) for row in rows)
    for index, views in decoding.load_views(items, shapes, devices.workers(workers)):
        row = rows[index]
        progress.advance(1)
        if isinstance(views, decoding.BadImage):
            name = str(images.ids[row])
            failed[name] = {"id": name, "path": images.paths[row], "error": str(views)}
            continue
        numbers.append(row)
        for shape in shapes:
            stacks[shape].append(views[shape])
        if len(numbers) == size:
            yield numbers, stacks
            numbers, stacks = [], {shape: [] for shape in shapes}
    if numbers:
        yield numbers, stacks


def _joined(pieces: "list[np.ndarray | None]") -> "np.ndarray | None":
    import numpy as np

    there = [piece for piece in pieces if piece is not None]
    return np.concatenate(there) if there else None


def _batch_size(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdigit() or int(text) < 1:
        raise UsageError(f'--batch-size "{text}"', "it takes a whole number or auto")
    return int(text)
