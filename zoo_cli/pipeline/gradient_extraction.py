"""`zoo extract --gradients`: the gradients of every source with a head, which LGC compares, of the probe's samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zoo_cli import console, devices, interruption
from zoo_cli.config import Config, Source
from zoo_cli.errors import UsageError, ZooError
from zoo_cli.store import failures, feature_store, gradient_store

if TYPE_CHECKING:
    import numpy as np
    import torch

    from zoo_cli.models.gradients import Gradients
    from zoo_cli.models.loading import LoadedModel
    from zoo_cli.store.manifest import Images

PROJECTION = "10000"
SEED = 0
"""Of the projection: never the task's, so that another split finds the same signs."""
PART_ROWS = 256
PART_NUMBERS = 2**28
WIDEST = 2**26
"""Numbers of a sample's vector, 268 MB, beyond which nothing is stored unprojected."""
BATCH = 64


@dataclass
class GradientJob:
    """One source and the rows (M,) of the manifest whose gradients are missing."""

    source: Source
    model: "LoadedModel"
    gradients: "Gradients"
    rows: "np.ndarray"
    said: dict[str, Any]


def extract_gradients(
    settings: Config,
    chosen: Sequence[Source],
    images: "Images",
    *,
    projection: str = PROJECTION,
    batch: int | None = None,
    device: str = "auto",
    workers: int | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
) -> None:
    """Write the gradients of the probe set that are missing. `projection`: a number of signed sums, or "none".

    Raises UsageError for a source whose layer cannot be found, and naming what differs where stored ones are stale.
    """
    from zoo_cli.models import gradients, loading

    size = parse_projection(projection)
    rows = probe_rows(settings, images)
    if not len(rows):
        raise UsageError(f"{settings.manifest} has no probe set", "gradients are taken of labelled samples")
    todo: list[tuple[Source, np.ndarray]] = []
    for source in chosen:
        if reason := gradient_store.unavailable_reason(settings, source):
            console.say(f"{source.name} has no gradients: {reason}")
            continue
        missing = rows if overwrite else gradient_store.missing_rows(settings, source, images, rows, projection)
        if len(missing):
            todo.append((source, missing))
        else:
            console.say(f"the gradients of {source.name} are up to date")
    if dry_run:
        count = sum(len(missing) for _, missing in todo)
        console.say(f"would take {count:,} gradients of {len(todo)} sources: {', '.join(one.name for one, _ in todo)}")
        return
    if not todo:
        return
    where = devices.choose(device, purpose="taking gradients")
    jobs = []
    for source, missing in todo:
        model = loading.load_model(source, settings.root, seed=settings.task.seed)
        found = gradients.build_gradients(model, size)
        said = _describe(settings, source, found, projection)
        jobs.append(GradientJob(source, model, found.to(where), missing, said))
    for job in jobs:
        gradient_store.open_gradients(settings, job.source.name, job.said, overwrite=overwrite)
    _run(settings, jobs, images, where, batch, workers)


def ensure_gradients(settings: Config, sources: Sequence[Source], images: "Images") -> None:
    """The gradients of the probe set of these sources, made where they are missing: projected, if none are there."""
    rows = probe_rows(settings, images)
    lacking: dict[str, list[Source]] = {}
    for source in sources:
        if not gradient_store.unavailable_reason(settings, source) and len(
            gradient_store.missing_rows(settings, source, images, rows, None)
        ):
            said = gradient_store.load_gradient_record(settings, source.name) or {"projection": PROJECTION}
            lacking.setdefault(said["projection"], []).append(source)
    for projection, some in lacking.items():
        names = ", ".join(source.name for source in some)
        console.say(f"no gradients of {names} for this probe set yet: zoo extract --gradients makes them first")
        extract_gradients(settings, some, images, projection=projection)


def probe_rows(settings: Config, images: "Images") -> "np.ndarray":
    """The rows (M,) of the probe set, but for the images that failed."""
    rows, absent = images.where(probe=True), failures.failed_ids(settings, "extract")
    return rows[[str(name) not in absent for name in images.ids[rows]]] if absent else rows


def parse_projection(text: str) -> Any:
    """The projection that a flag names; None for none. Raises UsageError."""
    if text == "none":
        return None
    if not text.isdigit():
        raise UsageError(f'--projection "{text}"', "it takes a multiple of five, or none")
    from zoo_cli.models.projection import Projection

    return Projection(int(text), SEED)


def _describe(settings: Config, source: Source, found: "Gradients", projection: str) -> dict[str, Any]:
    layer = found.layer
    lengths = {"gradient": layer.outputs * layer.weights, "gradient_sum": layer.weights}
    widths = {"gradient": found.width(layer.outputs), "gradient_sum": found.width(1)}
    if max(widths.values()) > WIDEST:
        raise UsageError(
            f"the gradients of {source.name} are {max(widths.values()):,} numbers an image",
            f"--projection {PROJECTION}",
        )
    return {
        "source": feature_store.source_fingerprint(feature_store.load_source_record(settings, source.name)),
        "gradient_layer": source.gradient_layer,
        "projection": projection,
        "seed": SEED,
        "layer": layer.name,
        "weights": layer.weights,
        "outputs": layer.outputs,
        "projected": [column for column, width in widths.items() if width < lengths[column]],
    }


def _run(
    settings: Config,
    jobs: Sequence[GradientJob],
    images: "Images",
    device: "torch.device",
    batch: int | None,
    workers: int | None,
) -> None:
    """Part by part: decode each image once, run every source that lacks it, commit."""
    import numpy as np

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
    total = sum(len(rows) for rows in pieces)
    with console.Progress("gradients", total, "img") as progress:
        for rows, takers in sorted(pieces.items(), key=lambda piece: piece[0]):
            interruption.check()
            views = _decode(images, rows, takers, workers)
            for job in takers:
                shape = _geometry(job)
                trace, summed = _vectors(job, views[shape], device, batch)
                gradient_store.write_gradients(
                    settings, job.source.name, job.said, images, np.array(rows), trace, summed
                )
            progress.advance(len(rows))
        console.say(progress.line)


def _decode(images: "Images", rows: Sequence[int], jobs: Sequence[GradientJob], workers: int | None) -> dict[Any, Any]:
    """The views (M, H, W, C) of some rows, by geometry."""
    import numpy as np

    from zoo_cli.images import decoding

    shapes = list(dict.fromkeys(_geometry(job) for job in jobs))
    stacks: dict[Any, list[Any]] = {shape: [] for shape in shapes}
    for index, views in decoding.load_views((images.getter(row) for row in rows), shapes, devices.workers(workers)):
        if isinstance(views, decoding.BadImage):
            name = images.paths[rows[index]] or images.ids[rows[index]]
            raise ZooError(f"{name} {views}", "bring it back; zoo extract --overwrite leaves it out")
        for shape in shapes:
            stacks[shape].append(views[shape])
    return {shape: np.stack(stack) for shape, stack in stacks.items()}


def _geometry(job: GradientJob) -> Any:
    from zoo_cli.images import decoding

    return decoding.view_geometry(job.model.preprocessing)


def _vectors(
    job: GradientJob, views: "np.ndarray", device: "torch.device", batch: int | None
) -> "tuple[np.ndarray, np.ndarray]":
    """The vectors of uint8 images (M, H, W, C), in float32 whatever the precision of the features."""
    import numpy as np
    import torch

    from zoo_cli.models.extraction import Normaliser

    pixels = Normaliser(job.model.preprocessing, device)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    done, size = 0, batch or BATCH
    while done < len(views):
        some = torch.from_numpy(views[done : done + size])
        try:
            with torch.no_grad():
                trace, summed = job.gradients(pixels(some))
        except torch.OutOfMemoryError:
            if batch is not None or size == 1:
                raise ZooError(f"out of GPU memory with --batch-size {size}", "make it smaller, or auto") from None
            size //= 2
            torch.cuda.empty_cache()
            continue
        found.append((trace.float().cpu().numpy(), summed.float().cpu().numpy()))
        done += len(some)
    return np.concatenate([one for one, _ in found]), np.concatenate([one for _, one in found])
