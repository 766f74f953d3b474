"""Run sources on the images of a task; each image is decoded once for all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoo_cli import console, devices, interruption, ranks
from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.images.decoding import BadImage, view_geometry
from zoo_cli.images.view_batches import view_batches
from zoo_cli.models import loading
from zoo_cli.models.extraction import FeatureRunner
from zoo_cli.models.forward_passes import ForwardPasses
from zoo_cli.models.loading import LoadedModel
from zoo_cli.models.recorded_weights import confirm_weights
from zoo_cli.pipeline import student_choice
from zoo_cli.pipeline.extract_config import ExtractConfig
from zoo_cli.store import failures, feature_store, provenance
from zoo_cli.store.failures import Failure
from zoo_cli.store.manifest import Images
from zoo_cli.store.provenance import Inputs
from zoo_cli.store.source_record import SourceRecord

CPU_BATCH, CUDA_BATCH = 64, 512


@dataclass(frozen=True)
class ExtractionJob:
    """One source and its missing parts: rows of the manifest by the path of the part."""

    source: Source
    model: LoadedModel
    inputs: Inputs
    missing: dict[Path, np.ndarray]


def extract_features(settings: Config, images: Images, sources: Sequence[Source], options: ExtractConfig) -> None:
    """Run sources that lack some of their outputs, and store what is missing, or stale and to be refreshed."""
    device = None if options.dry_run else devices.choose(options.device, purpose="extracting")
    devices.check_precision(options.precision, device)
    # Every model loads before --overwrite removes what one of them has stored.
    models = [
        loading.load_model(source, settings.root, seed=settings.task.seed, untrained=source.name == STUDENT)
        for source in sources
    ]
    if not options.overwrite and not options.refresh:
        for model in models:
            confirm_weights(settings, model, record=False)
    for source in sources:
        if source.name == STUDENT:
            student_choice.say_untrained(source)
    everything = {source.name for source in settings.models} <= {source.name for source in sources}
    if options.overwrite and everything and not options.dry_run:
        ranks.first_does(lambda: failures.discard_damaged(settings, "extract"))
    jobs = [_plan(settings, source, model, images, options) for source, model in zip(sources, models, strict=True)]
    count = sum(len(rows) for job in jobs for rows in job.missing.values())
    if device is None:
        names = ", ".join(job.source.name for job in jobs)
        console.say(f"would extract {count:,} outputs from {len(jobs)} sources: {names}")
        return
    new = _run(settings, jobs, images, device, options)
    everywhere = [Failure(**failure) for each in ranks.gather([asdict(failure) for failure in new]) for failure in each]
    ranks.first_does(lambda: _record_failures(settings, sources, images, everywhere, options))


def _record_failures(
    settings: Config, sources: Sequence[Source], images: Images, new: Sequence[Failure], options: ExtractConfig
) -> None:
    # An earlier, interrupted run may have met some of the failures; others may be whole by now. The new ones are in the
    # file already, unless another process replaced it at the same time.
    gone = feature_store.missing_ids(settings, [*settings.models, *sources], images)
    known = {failure.id: failure for failure in [*failures.load_failures(settings, "extract"), *new]}
    failed = [failure for name, failure in known.items() if name in gone]
    total = len(images.where(data="train")) + len(images.where(data="unlabelled"))
    failures.record_failures(settings, "extract", failed, total, options.max_errors or "0")


def auto_batch(device: torch.device) -> int:
    """Images per forward pass if the user sets no number."""
    return CUDA_BATCH if device.type == "cuda" else CPU_BATCH


def describe_source(settings: Config, source: Source, model: LoadedModel, precision: str) -> SourceRecord:
    """The record of a source as it would be stored with features that were extracted now."""
    described = {**loading.describe_model(model), "precision": precision, "declared": settings.declared(source)}
    return SourceRecord(feature_store.to_json_values(described))


def _plan(
    settings: Config, source: Source, model: LoadedModel, images: Images, options: ExtractConfig
) -> ExtractionJob:
    record = describe_source(settings, source, model, options.precision)
    missing = ranks.first_does(lambda: _open(settings, source, images, record, options))
    planned = feature_store.planned_parts(settings, source, images)
    return ExtractionJob(
        source, model, {"source": record.fingerprint}, {path: rows for path, rows in planned if str(path) in missing}
    )


def _open(settings: Config, source: Source, images: Images, record: SourceRecord, options: ExtractConfig) -> list[str]:
    """Write or check the record of a source; the paths of the parts that it lacks."""
    made_from = {"source": record.fingerprint}
    kept = set() if options.overwrite else feature_store.current_parts(settings, source, images, record)
    if not options.dry_run:
        feature_store.open_features(settings, record, overwrite=options.overwrite or options.refresh, kept=kept)
    planned = feature_store.planned_parts(settings, source, images)
    missing = {path: rows for path, rows in planned if path not in kept}
    if not options.overwrite and not options.refresh:
        for path, rows in missing.items():
            # Raises where one stands that is damaged or was made otherwise.
            inputs = feature_store.part_inputs(images, rows, made_from)
            provenance.is_current(path, inputs, overwrite=False, maker="extract")
    return [str(path) for path in missing]


def _run(
    settings: Config, jobs: Sequence[ExtractionJob], images: Images, device: torch.device, options: ExtractConfig
) -> list[Failure]:
    """Part by part: decode each image once, run every source that lacks the part, commit; the images that failed."""
    runners = {job.source.name: FeatureRunner(job.model, device, options.precision) for job in jobs}
    pieces: dict[tuple[int, ...], list[tuple[ExtractionJob, Path]]] = {}
    for job in jobs:
        for path, planned in job.missing.items():
            pieces.setdefault(tuple(planned.tolist()), []).append((job, path))
    pieces = ranks.own_parts(pieces)
    total = sum(len(rows) for rows in pieces)
    card = devices.describe_device(device).get("card")
    passes = ForwardPasses(device, options.batch, auto_batch(device))
    failed: list[Failure] = []
    with console.Progress("extract", total, "images") as progress:
        for rows, part_jobs in sorted(pieces.items()):
            interruption.check()
            outputs = _run_part(images, rows, part_jobs, runners, passes, options.workers, progress)
            _commit(settings, images, rows, part_jobs, outputs, card, options.max_errors or "0")
            failed += outputs.failed
        progress.say_end()
    return failed


@dataclass(frozen=True)
class PartOutputs:
    """The decoded rows (M,) of a part, the images that failed, and the features and logits of each source by name."""

    rows: np.ndarray
    failed: list[Failure]
    arrays: dict[str, tuple[np.ndarray | None, np.ndarray | None]]


def _run_part(
    images: Images,
    rows: Sequence[int],
    part_jobs: Sequence[tuple[ExtractionJob, Path]],
    runners: dict[str, FeatureRunner],
    passes: ForwardPasses,
    workers: int | None,
    progress: console.Progress,
) -> PartOutputs:
    """Features (M, D) and logits (M, K) of every source that lacks a part, on the images that can be decoded."""
    failed: list[Failure] = []

    def on_bad(row: int, error: BadImage) -> None:
        failed.append(Failure(str(images.ids[row]), images.paths[row], str(error)))

    geometries = {job.source.name: view_geometry(job.model.preprocessing) for job, _ in part_jobs}
    collected: dict[str, list[tuple[np.ndarray | None, np.ndarray | None]]] = {name: [] for name in geometries}
    decoded: list[np.ndarray] = []
    batches = view_batches(
        images,
        rows,
        list(dict.fromkeys(geometries.values())),
        passes.size,
        devices.workers(workers),
        on_bad,
        lambda: progress.advance(1),
    )
    for batch in batches:
        decoded.append(batch.rows)
        tensors = {geometry: torch.from_numpy(views) for geometry, views in batch.views.items()}
        for name, geometry in geometries.items():
            runner = runners[name]
            collected[name] += passes.run(name, runner.network, runner, tensors[geometry])
    arrays = {
        name: (_join([features for features, _ in pairs]), _join([logits for _, logits in pairs]))
        for name, pairs in collected.items()
    }
    return PartOutputs(np.concatenate([np.zeros(0, np.int64), *decoded]), failed, arrays)


def _commit(
    settings: Config,
    images: Images,
    rows: Sequence[int],
    part_jobs: Sequence[tuple[ExtractionJob, Path]],
    outputs: PartOutputs,
    card: Mapping[str, Any] | None,
    max_errors: str,
) -> None:
    """Write a part of every source, after its failures."""
    if len(outputs.rows) + len(outputs.failed) != len(rows):
        raise AssertionError(f"{len(rows)} rows in, {len(outputs.rows)} out and {len(outputs.failed)} failed")
    if outputs.failed:
        failures.add_failures(settings, "extract", outputs.failed, max_errors)
    for job, path in part_jobs:
        features, logits = outputs.arrays[job.source.name]
        feature_store.write_part(
            path, images, np.array(rows), outputs.rows, features, logits, job.inputs, job.source.name, card
        )


def _join(pieces: Sequence[np.ndarray | None]) -> np.ndarray | None:
    arrays = [piece for piece in pieces if piece is not None]
    return np.concatenate(arrays) if arrays else None
