"""Run sources on the stored augmented views of a task's images; each image is decoded once for all of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from zoo_cli import devices, interruption, ranks
from zoo_cli.config import Config, Source
from zoo_cli.images.augmented_views import load_augmented_views, whole_geometry
from zoo_cli.images.decoding import BadImage, Geometry
from zoo_cli.models import loading
from zoo_cli.models.extraction import FeatureRunner
from zoo_cli.models.forward_passes import ForwardPasses
from zoo_cli.models.recorded_weights import confirm_weights
from zoo_cli.pipeline import failed_images
from zoo_cli.pipeline.extract_config import ExtractConfig
from zoo_cli.pipeline.part_maker import auto_batch
from zoo_cli.progress import Progress
from zoo_cli.store import failures, feature_store, replacement, view_store
from zoo_cli.store.failures import Failure
from zoo_cli.store.manifest import Images
from zoo_cli.store.replacement import Replacement
from zoo_cli.store.source_record import load_source_record
from zoo_cli.store.view_set import ViewSet
from zoo_cli.store.view_store import ViewPart

Outputs = tuple[np.ndarray | None, np.ndarray | None]
"""Features (M, V, D) and logits (M, V, K) of one source."""


@dataclass(frozen=True)
class ViewRunner:
    """A source on its device, and how it sees an augmented view."""

    run: FeatureRunner
    geometry: Geometry


def extract_views(
    settings: Config,
    images: Images,
    pending: Sequence[tuple[Source, Sequence[ViewPart]]],
    views: ViewSet,
    options: ExtractConfig,
    new: Replacement | None = None,
) -> None:
    """Run sources on the views of the parts that they lack, and store the outputs of each view.

    `new`: where they are made, if they replace others. Images that failed in `zoo extract` are left out, and those that
    fail here before another shard has come to them. Raises ContractError for one that fails only now.
    """
    device = devices.choose(options.device, purpose="extracting")
    runners: dict[str, ViewRunner] = {}
    jobs: dict[tuple[int, ...], list[tuple[Source, ViewPart]]] = {}
    for source, missing in pending:
        model = loading.load_model(source, settings.root, seed=settings.task.seed)
        confirm_weights(settings, model, record=False)
        precision = str(load_source_record(settings, source.name).content["precision"])
        runners[source.name] = ViewRunner(FeatureRunner(model, device, precision), whole_geometry(model.preprocessing))
        for part in missing:
            jobs.setdefault(tuple(part.rows.tolist()), []).append((source, part))
    jobs = ranks.own_parts(jobs)
    known_bad = failures.failed_ids(settings, "extract")
    card = devices.describe_device(device).get("card")
    passes = ForwardPasses(device, options.batch, auto_batch(device))
    with Progress("extract views", sum(len(rows) for rows in jobs), "images") as progress:
        for rows, parts in sorted(jobs.items()):
            interruption.check()
            if new is not None and new.is_taken:
                break
            sound = np.array([row for row in rows if str(images.ids[row]) not in known_bad], dtype=np.int64)
            part_runners = {source.name: runners[source.name] for source, _ in parts}
            failed: dict[int, Failure] = {}

            def on_bad(row: int, error: BadImage, failed: dict[int, Failure] = failed) -> None:
                failed[row] = Failure(str(images.ids[row]), images.paths[row], str(error))

            outputs = _run_part(images, sound, views, part_runners, passes, options.workers, progress, on_bad)
            if failed:
                part_sources = [source for source, _ in parts]
                failed_images.record_failed_views(settings, images, part_sources, failed, options)
                sound = np.setdiff1d(sound, list(failed), assume_unique=True)
            for source, part in parts:
                fingerprint = load_source_record(settings, source.name).fingerprint
                for view, path in enumerate(part.paths):
                    features, logits = (None if each is None else each[:, view] for each in outputs[source.name])
                    inputs = view_store.made_from(fingerprint, views, view)
                    arguments = images, part.rows, sound, features, logits, inputs, source.name, card
                    replacement.commit(new, path, feature_store.write_part, *arguments)
        progress.say_end()


def _run_part(
    images: Images,
    rows: np.ndarray,
    views: ViewSet,
    runners: dict[str, ViewRunner],
    passes: ForwardPasses,
    workers: int | None,
    progress: Progress,
    on_bad: Callable[[int, BadImage], None],
) -> dict[str, Outputs]:
    """The outputs of every source on all views of those of rows (M,) that can be decoded, in passes of several views.

    `on_bad`: called with each of the others.
    """
    geometries = {name: runner.geometry for name, runner in runners.items()}
    collected: dict[str, list[Outputs]] = {name: [] for name in runners}
    decoded = _decode(images, rows, views, list(geometries.values()), devices.workers(workers), on_bad)
    for batch in _batches(decoded, max(1, passes.size // views.count)):
        pixels = {
            geometry: torch.from_numpy(np.concatenate([each[geometry] for each in batch]))
            for geometry in dict.fromkeys(geometries.values())
        }
        for name, runner in runners.items():
            pieces = passes.run(name, runner.run.network, runner.run, pixels[runner.geometry])
            features, logits = _join([piece[0] for piece in pieces]), _join([piece[1] for piece in pieces])
            collected[name].append((_split_views(features, views), _split_views(logits, views)))
        progress.advance(len(batch))
    return {
        name: (_join([features for features, _ in pairs]), _join([logits for _, logits in pairs]))
        for name, pairs in collected.items()
    }


def _batches(items: Iterator[dict[Geometry, np.ndarray]], size: int) -> Iterator[list[dict[Geometry, np.ndarray]]]:
    """The items in lists of this size; the last one may be shorter."""
    while batch := list(islice(items, size)):
        yield batch


def _decode(
    images: Images,
    rows: np.ndarray,
    views: ViewSet,
    geometries: Sequence[Geometry],
    workers: int,
    on_bad: Callable[[int, BadImage], None],
) -> Iterator[dict[Geometry, np.ndarray]]:
    """All views (V, H, W, C) of each row that can be decoded, by geometry."""
    items = ((images.getter(row), str(images.ids[row]), range(views.count)) for row in rows)
    for position, pixels in load_augmented_views(items, views, geometries, workers):
        if isinstance(pixels, BadImage):
            on_bad(int(rows[position]), pixels)
        else:
            yield pixels


def _split_views(outputs: np.ndarray | None, views: ViewSet) -> np.ndarray | None:
    """Outputs (M V, D) as (M, V, D)."""
    return None if outputs is None else outputs.reshape(-1, views.count, outputs.shape[1])


def _join(pieces: Sequence[np.ndarray | None]) -> np.ndarray | None:
    arrays = [piece for piece in pieces if piece is not None]
    return np.concatenate(arrays) if arrays else None
