"""`zoo extract --views`: the outputs of sources on stored augmented views. Checking what is stored loads no torch."""

from collections.abc import Sequence
from pathlib import Path

from zoo_cli import console, ranks, registry
from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.errors import ContractError
from zoo_cli.pipeline.extract_config import ExtractConfig
from zoo_cli.store import feature_store, free_space, replacement, view_store
from zoo_cli.store.manifest import Images
from zoo_cli.store.replacement import Replacement
from zoo_cli.store.view_set import ViewSet
from zoo_cli.store.view_store import ViewPart

RUNNER = "zoo_cli.pipeline.view_extraction:extract_views"


def extract_views(
    settings: Config, images: Images, sources: Sequence[Source], views: ViewSet, options: ExtractConfig
) -> None:
    """Store the missing outputs of sources on augmented views; their plain outputs are stored already.

    Sources with stored outputs only have the plain view alone. In a job of several processes each runs the models on
    parts of its own. Raises Stale, naming what differs.
    """
    missing, folder = ranks.first_does(lambda: _open_views(settings, images, sources, views, options))
    run = [source for source in sources if source.name in missing]
    if not run:
        return
    pending = []
    for source in run:
        parts = [
            part
            for position, part in enumerate(view_store.planned_parts(settings, source, images, views))
            if options.shard.takes(position) and str(part.paths[0]) in missing[source.name]
        ]
        pending.append((source, parts))
    new = None
    if folder is not None:
        identity = view_store.replacement_identity(settings, run, views)
        new = Replacement(view_store.views_folder(settings), identity, Path(folder))
    if any(parts for _, parts in pending):
        registry.import_target(RUNNER)(settings, images, pending, views, options, new)
    ranks.gather(True)  # all parts are there
    if new is not None and not options.shard.is_whole:
        lacking = {each.name: view_store.missing_parts(settings, each, images, views, remake=True) for each in run}
        if not new.is_taken and any(view_store.unfinished_parts(settings, lacking, images, views, new).values()):
            console.say("the new views replace the old ones when the other shards have made their parts")
            return
    if new is not None:
        remember = options.overwrite
        ranks.first_does(lambda: view_store.replace_outputs(settings, run, images, views, new, remember=remember))


def _open_views(
    settings: Config, images: Images, sources: Sequence[Source], views: ViewSet, options: ExtractConfig
) -> tuple[dict[str, list[str]], str | None]:
    """Record the views; the parts that sources lack, by the path of their first view.

    Also the folder in which they are made, where they replace others.
    """
    try:
        stored = view_store.load_view_set(settings)
    except ContractError:
        if not options.overwrite:
            raise
        stored = None
    remake = options.refresh
    if options.overwrite and not options.dry_run:
        run = [source for source in sources if not feature_store.is_outputs_only(source)]
        remake = _is_replaced(settings, run, images, views)
    elif not remake and not options.overwrite:
        view_store.check_view_set(settings, views)
    pending: dict[str, list[ViewPart]] = {}
    for source in sources:
        if feature_store.is_outputs_only(source):
            console.say(f"{source.name} has stored outputs only: it answers for the plain view")
            continue
        if options.overwrite and not remake:
            missing = list(view_store.planned_parts(settings, source, images, views))
        else:
            missing = view_store.missing_parts(settings, source, images, views, remake=remake)
        if missing:
            pending[source.name] = missing
        else:
            console.say(f"{views} of {source.name} are up to date")
    needed = 0.0
    for source in sources:
        count = views.count * sum(len(part.rows) for part in pending.get(source.name, ()))
        needed += count * feature_store.stored_bytes(settings, source) * free_space.STORED_SHARE
    if options.overwrite or options.refresh:
        needed -= replacement.unfinished_bytes(view_store.views_folder(settings))
    numbers = sum(len(part.paths) for parts in pending.values() for part in parts)
    free_space.check_space(view_store.views_folder(settings), int(needed), numbers, f"{views} of the sources")
    if options.dry_run:
        if pending:
            size = free_space.describe(max(0, int(needed)))
            console.say(f"would extract {views} of {len(pending)} sources: {', '.join(pending)}; at least {size}")
        return {}, None
    folder = None
    is_stale = options.refresh and (stored != views or view_store.are_stale(settings, sources, images, views))
    if pending and stored is not None and (options.overwrite or is_stale):
        lacking = [source for source in sources if source.name in pending]
        new = view_store.begin_replacement(settings, lacking, views, is_shared=not options.shard.is_whole)
        pending = view_store.unfinished_parts(settings, pending, images, views, new)
        folder = str(new.new)
    elif stored != views:
        view_store.write_view_set(settings, views)
    return {name: [str(part.paths[0]) for part in parts] for name, parts in pending.items()}, folder


def _is_replaced(settings: Config, sources: Sequence[Source], images: Images, views: ViewSet) -> bool:
    """Whether the interrupted command that overwrites the views of sources has brought them into their place."""
    identity = view_store.replacement_identity(settings, sources, views)
    is_done = replacement.is_done(view_store.views_folder(settings), identity)
    return is_done and view_store.is_current(settings, sources, images, views)


def make_views(
    settings: Config, images: Images, sources: Sequence[Source], views: ViewSet, *, refresh: bool = False
) -> None:
    """Store what a command reads of the views of sources and what is missing; it says so."""
    run = [source for source in sources if not feature_store.is_outputs_only(source)]
    remake = refresh
    if not remake and view_store.check_view_set(settings, views):
        lacking = [s for s in run if view_store.missing_parts(settings, s, images, views, remake=False)]
    else:
        lacking = [s for s in run if view_store.missing_parts(settings, s, images, views, remake=True)]
    if lacking:
        names = ", ".join(source.name for source in lacking)
        console.say(f"no {views} of {names} yet: zoo extract --views makes them first")
        extract_views(settings, images, lacking, views, ExtractConfig(refresh=refresh))


def view_sources(sources: Sequence[Source]) -> list[Source]:
    """The sources of which zoo extract stores views: all but the student's starting point, which rarely teaches."""
    return [source for source in sources if source.name != STUDENT]
