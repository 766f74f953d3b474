"""Run sources on the images of a task; each image is decoded once for all of them."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from zoo_cli import console, devices, interruption, ranks
from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.models import loading
from zoo_cli.models.loading import LoadedModel
from zoo_cli.models.recorded_weights import confirm_weights
from zoo_cli.pipeline import student_choice
from zoo_cli.pipeline.extract_config import ExtractConfig
from zoo_cli.pipeline.part_maker import ExtractionJob, PartMaker, Parts
from zoo_cli.progress import Progress
from zoo_cli.store import (
    failures,
    feature_store,
    free_space,
    part_state,
    provenance,
    replacement,
    view_store,
)
from zoo_cli.store.failures import BESIDE_STAGE, Failure
from zoo_cli.store.manifest import Images
from zoo_cli.store.replacement import Replacement
from zoo_cli.store.source_record import FILES, SourceRecord, has_source_record, load_source_record

MakeParts = Callable[[Config, Sequence[ExtractionJob], Parts, ExtractConfig], list[Failure]]


def extract_features(
    settings: Config,
    images: Images,
    sources: Sequence[Source],
    options: ExtractConfig,
    make_elsewhere: MakeParts | None = None,
) -> None:
    """Run sources that lack some of their outputs, and store what is missing, or stale and to be refreshed.

    `make_elsewhere`: makes the parts in other processes.
    """
    here = make_elsewhere is None and not options.dry_run
    device = devices.choose(options.device, purpose="extracting") if here else None
    devices.check_precision(options.precision, device)
    ranks.first_does(lambda: _check_stored_space(settings, sources, images, options))
    # Every model loads before anything is made.
    models = []
    with Progress("loading sources", len(sources), "sources") as progress:
        for source in sources:
            untrained = source.name == STUDENT
            models.append(loading.load_model(source, settings.root, seed=settings.task.seed, untrained=untrained))
            progress.advance(1)
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
    needed = sum(_estimate_bytes(settings, job) for job in jobs)
    files = sum(len(job.missing) for job in jobs)
    ranks.first_does(lambda: free_space.check_space(settings.root / "features", needed, files, "the outputs"))
    if options.dry_run:
        names = ", ".join(job.source.name for job in jobs)
        size = free_space.describe(needed)
        console.say(f"would extract {count:,} outputs from {len(jobs)} sources, at least {size}: {names}")
        return
    parts = _collect_parts(jobs)
    if make_elsewhere is not None:
        new = make_elsewhere(settings, jobs, parts, options)
    else:
        assert device is not None, "it is chosen above"
        new = _run(PartMaker(settings, images, jobs, device, options), parts)
    everywhere = [Failure(**failure) for each in ranks.gather([asdict(failure) for failure in new]) for failure in each]
    ranks.first_does(lambda: _finish(settings, jobs, images, everywhere, options))


def _finish(
    settings: Config, jobs: Sequence[ExtractionJob], images: Images, new: Sequence[Failure], options: ExtractConfig
) -> None:
    """Bring what replaces other outputs into its place, and record the failures."""
    replacing = [(job, job.new) for job in jobs if job.new is not None]
    if not options.shard.is_whole and not all(
        part_state.are_all_made(settings, job.source, images, job.record, new) for job, new in replacing
    ):
        console.say("the new outputs replace the old ones when the other shards have made their parts")
        replacing = []
    if replacing:
        # Before the outputs that lack them: a kill in between leaves no gap unexplained.
        failed = {failure.id: failure for failure in [*failures.load_failures(settings, BESIDE_STAGE), *new]}
        if failed:
            failures.add_failures(settings, "extract", list(failed.values()), options.max_errors or "0")
    for job, beside in replacing:
        feature_store.replace_outputs(settings, job.source, images, beside, job.record, remember=options.overwrite)
    _record_failures(settings, [job.source for job in jobs], images, new, options)
    if replacing:
        settings.errors(BESIDE_STAGE).unlink(missing_ok=True)


def _record_failures(
    settings: Config, sources: Sequence[Source], images: Images, new: Sequence[Failure], options: ExtractConfig
) -> None:
    # An earlier, interrupted run may have met some of the failures; others may be whole by now. The new ones are in the
    # file already, unless another process replaced it at the same time.
    known = {failure.id: failure for failure in [*failures.load_failures(settings, "extract"), *new]}
    gone = feature_store.missing_ids(settings, [*settings.models, *sources], images)
    if not options.shard.is_whole:
        gone |= part_state.pending_ids(settings, sources, images)
        if not options.refresh:  # which makes views again
            gone |= view_store.missing_ids(settings, settings.models, images)
    failed = [failure for name, failure in known.items() if name in gone]
    total = part_state.count_images(images)
    failures.record_failures(settings, "extract", failed, total, options.max_errors or "0")


def _estimate_bytes(settings: Config, job: ExtractionJob) -> int:
    """What the missing parts of a source will take at least."""
    count = sum(len(rows) for rows in job.missing.values())
    if stored := feature_store.stored_bytes(settings, job.source):
        return int(count * stored * free_space.STORED_SHARE)
    numbers = job.model.tap.dim * free_space.SPARSE_SHARE + job.model.classes * free_space.DENSE_SHARE
    return int(count * numbers * 4)


def _check_stored_space(settings: Config, sources: Sequence[Source], images: Images, options: ExtractConfig) -> None:
    """Raise UsageError, before a model is loaded, if outputs that replace stored ones do not fit beside them."""
    if not options.overwrite:
        return
    needed = 0.0
    for source in sources:
        if replacement.has_mark(settings.features(source.name)):
            continue
        rows = sum(len(rows) for _, rows in feature_store.planned_parts(settings, source, images))
        size = rows * feature_store.stored_bytes(settings, source) * free_space.STORED_SHARE
        needed += max(0.0, size - replacement.unfinished_bytes(settings.features(source.name)))
    free_space.check_space(settings.root / "features", int(needed), 0, "the new outputs, beside the old ones,")


def describe_source(settings: Config, source: Source, model: LoadedModel, precision: str) -> SourceRecord:
    """The record of a source as it would be stored with features that were extracted now."""
    described = {**loading.describe_model(model), "precision": precision, "declared": settings.declared(source)}
    if digests := feature_store.zero_shot_files(settings, source):
        described[FILES] = digests
    return SourceRecord(feature_store.to_json_values(described))


def _plan(
    settings: Config, source: Source, model: LoadedModel, images: Images, options: ExtractConfig
) -> ExtractionJob:
    record = describe_source(settings, source, model, options.precision)
    missing, folder = ranks.first_does(lambda: _open(settings, source, images, record, options))
    planned = [
        part
        for position, part in enumerate(feature_store.planned_parts(settings, source, images))
        if options.shard.takes(position)
    ]
    new = None
    if folder is not None:
        new = Replacement(settings.features(source.name), record.fingerprint, Path(folder))
    return ExtractionJob(source, model, record, {path: rows for path, rows in planned if str(path) in missing}, new)


def _open(
    settings: Config, source: Source, images: Images, record: SourceRecord, options: ExtractConfig
) -> tuple[list[str], str | None]:
    """Write or check the record of a source; the paths of the parts that it lacks.

    Also the folder in which they are made, where they replace others.
    """
    planned = dict(feature_store.planned_parts(settings, source, images))
    remake = options.overwrite and not feature_store.is_replaced(settings, source, images, record)
    current = set() if remake else feature_store.current_parts(settings, source, images, record)
    if options.dry_run:
        return [str(path) for path in planned if path not in current], None
    if remake or (options.refresh and _is_stale(settings, record, current)):
        new = feature_store.begin_replacement(settings, record, is_shared=not options.shard.is_whole)
        current |= new.keep(lambda: feature_store.current_parts(settings, source, images, record, new))
        return [str(path) for path in planned if path not in current], str(new.new)
    feature_store.open_features(settings, record)
    missing = {path: rows for path, rows in planned.items() if path not in current}
    if not options.overwrite and not options.refresh:
        for path, rows in missing.items():
            # Raises where one stands that is damaged or was made otherwise.
            inputs = feature_store.part_inputs(images, rows, {"source": record.fingerprint})
            provenance.is_current(path, inputs, overwrite=False, maker="extract")
    return [str(path) for path in missing], None


def _is_stale(settings: Config, record: SourceRecord, current: set[Path]) -> bool:
    """Whether outputs of a source are stored that were made otherwise: more than that some are missing."""
    name = str(record.content["name"])
    if not has_source_record(settings, name):
        return False
    stored = set(settings.features(name).glob("data=*/part-*.parquet"))
    return not stored <= current or bool(load_source_record(settings, name).changes(record))


def _collect_parts(jobs: Sequence[ExtractionJob]) -> Parts:
    """The missing parts of all sources, by their rows."""
    parts: Parts = {}
    for job in jobs:
        for path, planned in job.missing.items():
            parts.setdefault(tuple(planned.tolist()), []).append((job, path))
    return parts


def _run(maker: PartMaker, parts: Parts) -> list[Failure]:
    """Part by part: decode each image once, run every source that lacks the part, commit; the images that failed."""
    parts = ranks.own_parts(parts)
    failed: list[Failure] = []
    with Progress("extract", sum(len(rows) for rows in parts), "images") as progress:
        for rows, part_jobs in sorted(parts.items()):
            interruption.check()
            failed += maker.make(rows, part_jobs, progress)
        progress.say_end()
    return failed
