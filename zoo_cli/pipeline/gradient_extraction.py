"""`zoo extract --gradients`: gradients of every source with a head on the probe set, which LGC compares."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from zoo_cli import console, devices, interruption
from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.errors import UsageError, ZooError
from zoo_cli.guard import guarded
from zoo_cli.images.decoding import BadImage, Geometry, view_geometry
from zoo_cli.images.view_batches import ViewBatch, view_batches
from zoo_cli.models import gradients, loading
from zoo_cli.models.extraction import Normaliser
from zoo_cli.models.forward_passes import ForwardPasses
from zoo_cli.models.gradients import Gradients
from zoo_cli.models.loading import LoadedModel
from zoo_cli.models.projection import Projection
from zoo_cli.models.recorded_weights import confirm_weights
from zoo_cli.pipeline.extract_config import ExtractConfig
from zoo_cli.pipeline.missing_gradients import MissingGradients
from zoo_cli.progress import Progress
from zoo_cli.store import free_space, gradient_store, stage_log
from zoo_cli.store.gradient_store import PROJECTION, GradientRecord
from zoo_cli.store.manifest import Images
from zoo_cli.store.replacement import Replacement
from zoo_cli.store.source_record import load_source_record

SEED = 0
"""Seed of the projection: never the task's, so that another split uses the same signs."""
PART_ROWS = 256
PART_NUMBERS = 2**28
WIDEST = 2**26
"""The most numbers in the vector of a sample, 268 MB; longer vectors are only stored projected."""
BATCH = 64


@dataclass(frozen=True)
class GradientJob:
    """One source and the rows (M,) of the manifest whose gradients are missing. `precision`: that of its features.

    `new`: where they are made, if they replace others.
    """

    source: Source
    model: LoadedModel
    gradients: Gradients
    rows: np.ndarray
    record: GradientRecord
    precision: str
    new: Replacement | None = None

    @property
    def geometry(self) -> Geometry:
        """How an image is decoded for this source."""
        return view_geometry(self.model.preprocessing)


def extract_gradients(
    settings: Config, images: Images, missing: Sequence[MissingGradients], options: ExtractConfig
) -> None:
    """Store the gradients of some rows of sources. Raises UsageError for a layer that cannot be identified."""
    projection = options.projection or PROJECTION
    device = devices.choose(options.device, purpose="computing gradients")
    jobs = []
    for item in missing:
        untrained = item.source.name == STUDENT
        model = loading.load_model(item.source, settings.root, seed=settings.task.seed, untrained=untrained)
        confirm_weights(settings, model, record=False)
        precision = str(load_source_record(settings, item.source.name).content["precision"])
        devices.check_precision(precision, device)
        network = gradients.build_gradients(model, None if projection == "none" else Projection(int(projection), SEED))
        record = _describe(settings, item.source, network, projection)
        jobs.append(GradientJob(item.source, model, network, item.rows, record, precision))
    jobs = [_open(settings, images, job, item, options) for job, item in zip(jobs, missing, strict=True)]
    needed = sum(_estimate_bytes(job) for job in jobs)
    free_space.check_space(settings.root / "gradients", needed, 0, "the gradients")
    _run(settings, jobs, images, device, options)
    for job in jobs:
        if job.new is not None:
            gradient_store.replace_gradients(settings, job.source.name, job.record, job.new, remember=options.overwrite)


def _open(
    settings: Config, images: Images, job: GradientJob, item: MissingGradients, options: ExtractConfig
) -> GradientJob:
    """Write or check the record of a source; the job with the rows that are left to do."""
    if item.overwrite:
        if options.overwrite and gradient_store.is_replaced(settings, job.source, images, job.rows, job.record):
            return replace(job, rows=job.rows[:0])
        new, rows = gradient_store.begin_replacement(settings, job.source.name, job.record, images, job.rows)
        return replace(job, rows=rows, new=new)
    gradient_store.open_gradients(settings, job.source.name, job.record)
    return job


def _estimate_bytes(job: GradientJob) -> int:
    """What the missing gradients of a source will take at least: projections are dense."""
    layer = job.gradients.layer
    widths = {"gradient": job.gradients.width(layer.outputs), "gradient_sum": job.gradients.width(1)}
    numbers = sum(
        width * (free_space.DENSE_SHARE if column in job.record.projected else free_space.SPARSE_SHARE)
        for column, width in widths.items()
    )
    return int(len(job.rows) * numbers * 4)


def _describe(settings: Config, source: Source, network: Gradients, projection: str) -> GradientRecord:
    layer = network.layer
    lengths = {"gradient": layer.outputs * layer.weights, "gradient_sum": layer.weights}
    widths = {"gradient": network.width(layer.outputs), "gradient_sum": network.width(1)}
    if max(widths.values()) > WIDEST:
        raise UsageError(
            f"the gradients of {source.name} have {max(widths.values()):,} numbers per image",
            f"--projection {PROJECTION}",
        )
    return GradientRecord(
        source=load_source_record(settings, source.name).fingerprint,
        gradient_layer=source.gradient_layer,
        projection=projection,
        seed=SEED,
        layer=layer.name,
        weights=layer.weights,
        outputs=layer.outputs,
        projected=[column for column, width in widths.items() if width < lengths[column]],
    )


def _run(
    settings: Config, jobs: Sequence[GradientJob], images: Images, device: torch.device, options: ExtractConfig
) -> None:
    """Part by part: decode each image once, run every source that lacks it, commit."""
    pieces: dict[tuple[int, ...], list[GradientJob]] = {}
    for job in jobs:
        layer = job.gradients.layer
        numbers = job.gradients.width(layer.outputs) + job.gradients.width(1)
        console.say(
            f"{job.source.name}: gradients of layer {layer.name}, {layer.weights:,} weights"
            + (", in closed form" if layer.closed else f", for {layer.outputs:,} outputs")
        )
        step = max(1, min(PART_ROWS, PART_NUMBERS // numbers))
        for start in range(0, len(job.rows), step):
            pieces.setdefault(tuple(job.rows[start : start + step].tolist()), []).append(job)
    card = devices.describe_device(device).get("card")
    passes = ForwardPasses(device, options.batch, BATCH)
    total = sum(len(rows) for rows in pieces)
    with Progress("gradients", total, "images") as progress:
        for rows, part_jobs in sorted(pieces.items(), key=lambda piece: piece[0]):
            interruption.check()
            part_jobs = [job for job in part_jobs if job.new is None or not job.new.is_taken]
            if not part_jobs:
                progress.advance(len(rows))
                continue
            started = time.monotonic()
            batch = _decode(images, rows, part_jobs, options.workers)
            decoding = (time.monotonic() - started) / len(part_jobs)
            for job in part_jobs:
                started = time.monotonic()
                trace, summed = _vectors(job, batch.views[job.geometry], passes)
                path = gradient_store.write_gradients(
                    settings, job.source.name, job.record, images, batch.rows, trace, summed, card, job.new
                )
                stage_log.add_part(path.parent, path.name, decoding + time.monotonic() - started)
            progress.advance(len(rows))
        progress.say_end()


def _decode(images: Images, rows: Sequence[int], jobs: Sequence[GradientJob], workers: int | None) -> ViewBatch:
    """The views of some rows, in one batch. Raises ZooError for an image that can no longer be decoded."""

    def on_bad(row: int, error: BadImage) -> None:
        name = images.paths[row] or images.ids[row]
        raise ZooError(f"{name} {error}", "restore it, or zoo extract --overwrite leaves it out")

    geometries = list(dict.fromkeys(job.geometry for job in jobs))
    (batch,) = view_batches(images, rows, geometries, len(rows), devices.workers(workers), on_bad)
    return batch


def _vectors(job: GradientJob, views: np.ndarray, passes: ForwardPasses) -> tuple[np.ndarray, np.ndarray]:
    """The vectors of uint8 images (M, H, W, C), in the precision of the features, in fp32 for those in bf16."""
    normalise = Normaliser(job.model.preprocessing, passes.device)
    what = f"source {job.source.name}: its gradients cannot be taken"

    def compute(images: Tensor) -> tuple[np.ndarray, np.ndarray]:
        with torch.no_grad(), devices.arithmetic(passes.device, job.precision, cast=False), guarded(what):
            trace, summed = job.gradients(normalise(images))
        return trace.float().cpu().numpy(), summed.float().cpu().numpy()

    pieces = passes.run(job.source.name, job.gradients, compute, torch.from_numpy(views))
    return np.concatenate([trace for trace, _ in pieces]), np.concatenate([summed for _, summed in pieces])
