"""`zoo extract`: the features and logits of every source. Checking what is up to date loads no torch."""

from collections.abc import Sequence
from pathlib import Path

from zoo_cli import console, ranks, registry
from zoo_cli.config import Config, Source
from zoo_cli.pipeline import extract_views, prepare
from zoo_cli.pipeline.extract_config import ENGINES, ExtractConfig
from zoo_cli.pipeline.split import SplitConfig, write_manifest
from zoo_cli.shards import WHOLE
from zoo_cli.store import failures, feature_store, imported_outputs, output_summary, part_state, replacement, view_store
from zoo_cli.store.feature_store import SourceSummary
from zoo_cli.store.manifest import Images, load_manifest
from zoo_cli.store.provenance import Stale
from zoo_cli.store.source_record import has_source_record

RUNNER = "zoo_cli.pipeline.feature_extraction:extract_features"
EXPLAINER = "zoo_cli.pipeline.failed_images:record_unexplained"


def extract(settings: Config, sources: Sequence[Source], options: ExtractConfig | None = None) -> list[SourceSummary]:
    """Store the missing outputs of sources; a summary of each, none after a dry run.

    Raises Stale naming what differs, UsageError for models that cannot be run, TooManyErrors.
    """
    options = options or ExtractConfig()
    options.check()
    if options.dry_run:
        if prepare.lacks_manifest(settings, refresh=options.refresh):
            write_manifest(settings, SplitConfig(workers=options.workers, dry_run=True))
            names = ", ".join(source.name for source in sources)
            console.say(f"would extract them from {len(sources)} sources: {names}")
            return []
        images = load_manifest(settings.manifest, settings.root)
    else:
        prepare.check_shard(settings, options.shard, refresh=options.refresh)
        images = ranks.in_turn(lambda: prepare.prepare(settings, workers=options.workers, refresh=options.refresh))
    make_features(settings, images, sources, options)
    views = options.view_set(settings.task.seed)
    if views is not None:
        sources_with_views = extract_views.view_sources(sources)
        extract_views.extract_views(settings, images, sources_with_views, views, options)
        if not options.dry_run:
            ranks.first_does(lambda: _complete_failures(settings, images, sources, options))
    if options.gradients:
        ranks.first_does(lambda: prepare.maker("gradients")(settings, images, sources, options))
    if options.dry_run:
        return []
    if options.overwrite:
        ranks.first_does(lambda: replacement.forget(_replaced_places(settings, sources)))
    ranks.first_does(lambda: failures.check_failures(settings, "extract", options.max_errors))
    return _describe(settings, images, sources, options)


def _describe(
    settings: Config, images: Images, sources: Sequence[Source], options: ExtractConfig
) -> list[SourceSummary]:
    """What is stored of sources; of a shard also how far the parts of all shards are."""
    if options.shard.is_whole:
        return [feature_store.summarize_source(settings, source) for source in sources]
    stored, planned = part_state.count_parts(settings, sources, images)
    rest = "" if stored == planned else "; the others belong to other shards"
    console.say(f"shard {options.shard} is done: {stored:,} of {planned:,} parts of the sources are stored{rest}")
    return [
        feature_store.summarize_source(settings, source)
        if part_state.has_all_parts(settings, source, images)
        else part_state.summarize_unfinished(settings, source)
        for source in sources
        if has_source_record(settings, source.name)
    ]


def _replaced_places(settings: Config, sources: Sequence[Source]) -> list[Path]:
    """Where the outputs that a command overwrites belong."""
    names = [source.name for source in sources]
    return [*map(settings.features, names), *map(settings.gradients, names), view_store.views_folder(settings)]


def make_features(
    settings: Config, images: Images, sources: Sequence[Source], options: ExtractConfig | None = None
) -> None:
    """Store the missing outputs of sources: imported if only outputs are known, else computed by running the model.

    In a job of several processes rank 0 imports, and all run the models, each on parts of its own.
    """
    options = options or ExtractConfig()
    names = ranks.first_does(lambda: _import_missing(settings, images, sources, options))
    run = [source for source in sources if source.name in names]
    if run:
        runner = RUNNER if options.engine is None or options.dry_run else ENGINES[options.engine]
        registry.import_target(runner)(settings, images, run, options)
    if not options.dry_run:
        ranks.first_does(lambda: _finish(settings, images, sources, options))


def _finish(settings: Config, images: Images, sources: Sequence[Source], options: ExtractConfig) -> None:
    """Complete the record of failures; keep a summary of the outputs of each source beside them, once all are there."""
    _complete_failures(settings, images, sources, options)
    for source in sources:
        if options.shard.is_whole or part_state.has_all_parts(settings, source, images):
            output_summary.load_summary(settings, source.name, overwrite=options.overwrite)


def _complete_failures(settings: Config, images: Images, sources: Sequence[Source], options: ExtractConfig) -> None:
    """Recover failures that two processes recorded at the same time, so that one was lost, and a count never written.

    The count of all images is written last, by a process that may have been killed before.
    """
    if part_state.unexplained_ids(settings, sources, images, failures.failed_ids(settings, "extract")):
        registry.import_target(EXPLAINER)(settings, images, sources, options)
    if all(part_state.has_all_parts(settings, source, images) for source in sources):
        failures.add_total(settings, "extract", part_state.count_images(images), options.max_errors)


def _import_missing(settings: Config, images: Images, sources: Sequence[Source], options: ExtractConfig) -> list[str]:
    """Import the missing outputs of which only outputs are known; the names of the sources that are to be run."""
    pending: list[Source] = []
    imported = [source.name for source in sources if feature_store.is_outputs_only(source)]
    for source in sources:
        shard = options.shard
        if source.name in imported:  # not divided: each is imported by one of the shards
            if not shard.takes(imported.index(source.name)):
                continue
            shard = WHOLE
        try:
            if not options.overwrite and feature_store.is_complete(settings, source, images, options.precision, shard):
                what = source.name if shard.is_whole else f"shard {shard} of {source.name}"
                console.say(f"{what} is up to date")
                continue
        except Stale:
            if not options.refresh:
                raise
        pending.append(source)
    for source in pending:
        if feature_store.is_outputs_only(source) and not options.dry_run:
            imported_outputs.import_outputs(
                settings, source, images, overwrite=options.overwrite, refresh=options.refresh
            )
    return [source.name for source in pending if not feature_store.is_outputs_only(source)]
