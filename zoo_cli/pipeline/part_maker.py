"""Make parts of the outputs of several sources: each image is decoded once, every source runs on it, and is stored."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoo_cli import devices
from zoo_cli.config import Config, Source
from zoo_cli.images.decoding import BadImage, view_geometry
from zoo_cli.images.view_batches import view_batches
from zoo_cli.models.extraction import SharedBodyRunner, body_key
from zoo_cli.models.forward_passes import ForwardPasses
from zoo_cli.models.loading import LoadedModel
from zoo_cli.pipeline.extract_config import ExtractConfig
from zoo_cli.progress import Progress
from zoo_cli.store import failures, feature_store, replacement, stage_log
from zoo_cli.store.failures import BESIDE_STAGE, Failure
from zoo_cli.store.manifest import Images
from zoo_cli.store.replacement import Replacement
from zoo_cli.store.source_record import SourceRecord

CPU_BATCH, CUDA_BATCH = 64, 512


@dataclass(frozen=True)
class ExtractionJob:
    """One source and its missing parts: rows of the manifest by the path of the part.

    `new`: where they are made, if they replace others.
    """

    source: Source
    model: LoadedModel
    record: SourceRecord
    missing: dict[Path, np.ndarray]
    new: Replacement | None = None


Parts = dict[tuple[int, ...], list[tuple[ExtractionJob, Path]]]
"""By the rows of a part, the sources that lack it, each with the path of its file."""


def auto_batch(device: torch.device) -> int:
    """Images per forward pass if the user sets no number."""
    return CUDA_BATCH if device.type == "cuda" else CPU_BATCH


class PartMaker:
    """Makes parts of several sources on a device; each image is decoded once for all of them."""

    def __init__(
        self,
        settings: Config,
        images: Images,
        jobs: Sequence[ExtractionJob],
        device: torch.device,
        options: ExtractConfig,
    ):
        self.settings, self.images, self.options = settings, images, options
        self.runners = _make_runners(jobs, device, options.precision)
        self.card = devices.describe_device(device).get("card")
        self.passes = ForwardPasses(device, options.batch, auto_batch(device))

    def make(
        self, rows: Sequence[int], part_jobs: Sequence[tuple[ExtractionJob, Path]], progress: Progress
    ) -> list[Failure]:
        """Store a part of each of some sources; the images of it that failed."""
        settings, images, options = self.settings, self.images, self.options
        part_jobs = [(job, path) for job, path in part_jobs if job.new is None or not job.new.is_taken]
        if not part_jobs:
            progress.advance(len(rows))
            return []
        started = time.monotonic()
        outputs = _run_part(images, rows, part_jobs, self.runners, self.passes, options.workers, progress)
        _commit(settings, images, rows, part_jobs, outputs, self.card, options.max_errors or "0")
        _log_seconds(settings, part_jobs, outputs, time.monotonic() - started)
        return outputs.failed


def _make_runners(jobs: Sequence[ExtractionJob], device: torch.device, precision: str) -> dict[str, SharedBodyRunner]:
    """The runner of each source by name: one for all sources that share a body."""
    groups: dict[tuple[object, ...], list[LoadedModel]] = {}
    for job in jobs:
        groups.setdefault(body_key(job.model), []).append(job.model)
    runners = [SharedBodyRunner(models, device, precision) for models in groups.values()]
    return {name: runner for runner in runners for name in runner.names}


@dataclass(frozen=True)
class PartOutputs:
    """The decoded rows (M,) of a part, the images that failed, and the features and logits of each source by name.

    `seconds`: of the forward passes of each source, of a shared body in equal parts.
    """

    rows: np.ndarray
    failed: list[Failure]
    arrays: dict[str, tuple[np.ndarray | None, np.ndarray | None]]
    seconds: dict[str, float]


def _run_part(
    images: Images,
    rows: Sequence[int],
    part_jobs: Sequence[tuple[ExtractionJob, Path]],
    runners: dict[str, SharedBodyRunner],
    passes: ForwardPasses,
    workers: int | None,
    progress: Progress,
) -> PartOutputs:
    """Features (M, D) and logits (M, K) of every source that lacks a part, on the images that can be decoded."""
    failed: list[Failure] = []

    def on_bad(row: int, error: BadImage) -> None:
        failed.append(Failure(str(images.ids[row]), images.paths[row], str(error)))

    geometries = {runners[job.source.name]: view_geometry(job.model.preprocessing) for job, _ in part_jobs}
    collected: dict[str, list[tuple[np.ndarray | None, np.ndarray | None]]] = {
        job.source.name: [] for job, _ in part_jobs
    }
    seconds = dict.fromkeys(collected, 0.0)
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
        for runner, geometry in geometries.items():
            started = time.monotonic()
            for outputs in passes.run(runner.names[0], runner, runner.run, tensors[geometry]):
                for name in outputs.keys() & collected.keys():
                    collected[name].append(outputs[name])
            names = [name for name in runner.names if name in seconds]
            for name in names:
                seconds[name] += (time.monotonic() - started) / len(names)
    arrays = {
        name: (_join([features for features, _ in pairs]), _join([logits for _, logits in pairs]))
        for name, pairs in collected.items()
    }
    return PartOutputs(np.concatenate([np.zeros(0, np.int64), *decoded]), failed, arrays, seconds)


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
        # While old outputs are in place, all of their samples stay in use.
        stage = "extract" if any(job.new is None for job, _ in part_jobs) else BESIDE_STAGE
        failures.add_failures(settings, stage, outputs.failed, max_errors)
    for job, path in part_jobs:
        made_from, name = {"source": job.record.fingerprint}, job.source.name
        arguments = images, np.array(rows), outputs.rows, *outputs.arrays[name], made_from, name, card
        replacement.commit(job.new, path, feature_store.write_part, *arguments)


def _log_seconds(
    settings: Config, part_jobs: Sequence[tuple[ExtractionJob, Path]], outputs: PartOutputs, seconds: float
) -> None:
    """Log what a part took of each source: its forward passes, and an even share of what the sources have in common."""
    shared = (seconds - sum(outputs.seconds.values())) / len(part_jobs)
    for job, path in part_jobs:
        folder = settings.features(job.source.name)
        stage_log.add_part(folder, path.relative_to(folder).as_posix(), outputs.seconds[job.source.name] + shared)


def _join(pieces: Sequence[np.ndarray | None]) -> np.ndarray | None:
    arrays = [piece for piece in pieces if piece is not None]
    return np.concatenate(arrays) if arrays else None
